"""How much larger than its input the output of a file's layers can be: a few hundred bytes must not ask for gigabytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

from pyro_vd.networks.layer_registry import kind_of

MOST_GROWTH = 2**20
"""Positions, such as pixels, that may come from one: 1024 times as many along each of two axes."""


def growth(layers: Iterable[nn.Module]) -> int:
    """How many positions of the output come from one of the input, at most, if these layers run one after the other."""
    return math.prod(_of_layer(layer) for layer in layers)


def _of_layer(layer: Any) -> int:
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        size: Any = layer.output_size
        return math.prod(each or 1 for each in (size if isinstance(size, tuple) else (size, size)))
    kind = kind_of(layer)
    return 1 if kind is None else kind.growth(layer)
