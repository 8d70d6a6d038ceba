"""How far the layers that a file asks for can blow an input up: a few hundred bytes must not ask for gigabytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

from pyro_vd.networks.layers import TRANSPOSED

MOST_GROWTH = 2**20
"""Positions, such as pixels, that may come from one: 1024 times as many along each of two axes."""


_ADDED = 16
"""Fewer positions than twice this, added by padding along an axis, count for nothing."""


def growth(layers: Iterable[nn.Module]) -> int:
    """At most so many positions come from one, where these layers run one after the other; linear layers have no positions."""
    return math.prod(_of_layer(layer) for layer in layers)


def _of_layer(layer: Any) -> int:
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        size: Any = layer.output_size
        return math.prod(each or 1 for each in (size if isinstance(size, tuple) else (size, size)))
    if isinstance(layer, (*TRANSPOSED, nn.Conv1d, nn.Conv2d, nn.Conv3d)) and not isinstance(layer.padding, str):
        factors = []
        for axis, kernel in enumerate(layer.kernel_size):
            wider = layer.dilation[axis] * (kernel - 1) - 2 * layer.padding[axis]
            if isinstance(layer, TRANSPOSED):
                factors.append(max(layer.stride[axis], (wider + layer.output_padding[axis]) // _ADDED))
            else:
                factors.append(max(1, -wider // _ADDED))
        return math.prod(factors)
    return 1
