"""A bound on how much larger the output of a file's layers is than their input: small files must not ask for gigabytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

from pyro_vd.networks.layer_registry import kind_of

MOST_GROWTH = 2**20
"""The most output positions, such as pixels, per input position: 1024 times as many along each of two axes."""
MOST_OF_A_LAYER = 2**16
"""The same of a single layer: a decoder grows in many small steps."""


def excess(layers: Iterable[nn.Module]) -> tuple[int, int] | None:
    """Return the output positions per input position, at most, and how many are allowed; None where that many are not made.

    The numbers are those of the layer that makes the most, if that is too much, and otherwise of all layers in turn.
    """
    each = [_of_layer(layer) for layer in layers]
    for made, allowed in ((max(each), MOST_OF_A_LAYER), (math.prod(each), MOST_GROWTH)):
        if made > allowed:
            return made, allowed
    return None


def _of_layer(layer: Any) -> int:
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        size: Any = layer.output_size
        return math.prod(each or 1 for each in (size if isinstance(size, tuple) else (size, size)))
    kind = kind_of(layer)
    return 1 if kind is None else kind.growth(layer)
