"""Bilinear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pyro_vd.networks.layer_kind import Axes, FixedUnitsKind
from pyro_vd.networks.linear_map import LinearMap


class BilinearKind(FixedUnitsKind):
    """``nn.Bilinear``: linear in the weight for both inputs together; the second input has the axis ``kernel_0``."""

    modules: tuple[type[nn.Module], ...] = (nn.Bilinear,)
    linear_maps: tuple[LinearMap, ...] = (
        LinearMap(torch.bilinear, ("input1", "input2", "weight", "bias"), inputs=("input1", "input2")),
    )
    sizes: tuple[str, str] = ("in1_features", "out_features")

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("out", "in", "kernel_0")}

    def take_sizes(self, layer: Any) -> None:
        layer.out_features, layer.in1_features, layer.in2_features = layer.weight.shape

    def applications(self, layer: Any, name: str, inputs: Sequence[Any], output: Any) -> int:
        return output.numel() // layer.out_features
