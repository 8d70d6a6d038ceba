"""Convolutions and transposed convolutions of one to three spatial dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import nn

from pyro_vd.networks.layer_kind import Axes, LayerKind
from pyro_vd.networks.linear_map import LinearMap

_RANKS = (1, 2, 3)

_ADDED = 16
"""Fewer positions than twice this, added by padding along an axis, are not counted as growth."""


class ConvolutionKind(LayerKind):
    """``nn.Conv1d``, ``nn.Conv2d``, ``nn.Conv3d``: units are channels, in dimension 1 of ``(batch, channels, …)``."""

    modules: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    linear_maps: tuple[LinearMap, ...] = tuple(
        LinearMap(getattr(F, f"conv{rank}d"), ("input", "weight", "bias", "stride", "padding", "dilation", "groups"), rank)
        for rank in _RANKS
    )
    sizes: tuple[str, str] = ("in_channels", "out_channels")

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("out", "in", *_kernel(layer))}

    def is_dense(self, layer: Any) -> bool:
        return layer.groups == 1

    def input_groups(self, layer: Any) -> int:
        groups: int = layer.groups
        return groups

    def unit_axis(self, layer: nn.Module, ndim: int) -> int | None:
        return 1 if ndim == len(_kernel(layer)) + 2 else None

    def is_uniform(self, layer: Any) -> bool:
        padding = layer.padding
        return layer.padding_mode != "zeros" or padding == "valid" or (padding != "same" and not any(padding))

    def take_sizes(self, layer: Any) -> None:
        layer.out_channels, layer.in_channels = layer.weight.shape[0], layer.weight.shape[1] * layer.groups

    def growth(self, layer: Any) -> int:
        if layer.padding_mode != "zeros":  # the input is copied with what is added
            added = layer._reversed_padding_repeated_twice
            return math.prod(max(1, sum(added[place : place + 2]) // _ADDED) for place in range(0, len(added), 2))
        if isinstance(layer.padding, str):
            return 1
        return math.prod(self._growth_along(layer, axis) for axis in range(len(layer.kernel_size)))

    def _growth_along(self, layer: Any, axis: int) -> int:
        return max(1, -_reach(layer, axis) // _ADDED)


class TransposedConvolutionKind(ConvolutionKind):
    """``nn.ConvTranspose1d``, ``nn.ConvTranspose2d``, ``nn.ConvTranspose3d``: the weight has the input channels first."""

    modules: tuple[type[nn.Module], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    linear_maps: tuple[LinearMap, ...] = tuple(
        LinearMap(
            getattr(F, f"conv_transpose{rank}d"),
            ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
            rank,
            input_axis=0,
        )
        for rank in _RANKS
    )

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("in", "out", *_kernel(layer))}

    def input_groups(self, layer: nn.Module) -> int:
        return 1  # the dimension of the inputs has those of all groups

    def applications(self, layer: Any, name: str, inputs: Sequence[Any], output: Any) -> int:
        return inputs[0].numel() // layer.in_channels

    def is_uniform(self, layer: nn.Module) -> bool:
        return False  # positions at the border have fewer terms, and with a stride others too

    def take_sizes(self, layer: Any) -> None:
        layer.in_channels, layer.out_channels = layer.weight.shape[0], layer.weight.shape[1] * layer.groups

    def _growth_along(self, layer: Any, axis: int) -> int:
        return max(layer.stride[axis], (_reach(layer, axis) + layer.output_padding[axis]) // _ADDED)


def _kernel(layer: Any) -> Axes:
    """The names of the dimensions of a layer's kernel."""
    return tuple(f"kernel_{axis}" for axis in range(len(layer.kernel_size)))


def _reach(layer: Any, axis: int) -> int:
    """How many positions a kernel takes along an axis beside the first, without those that padding adds."""
    return layer.dilation[axis] * (layer.kernel_size[axis] - 1) - 2 * layer.padding[axis]
