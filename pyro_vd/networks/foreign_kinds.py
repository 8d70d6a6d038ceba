"""Linear layers of other packages, which are known by the names of their classes, so that nothing imports the packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd.networks.layer_kind import Axes, LayerKind
from pyro_vd.networks.linear_kind import LinearKind
from pyro_vd.networks.linear_map import LinearMap


@dataclass(frozen=True)
class AddmmMap(LinearMap):
    """``torch.addmm(bias, x, weight)``, whose rows may be all positions of all examples."""

    def applies(self, arguments: Mapping[str, Any]) -> bool:
        return arguments.get("alpha", 1) == 1

    def variance(self, arguments: Mapping[str, Any], variance: Tensor) -> Tensor:
        return arguments["mat1"].square() @ variance


class Conv1DKind(LayerKind):
    """``Conv1D`` of Hugging Face, a linear layer with a transposed weight, as in GPT-2."""

    class_names: tuple[str, ...] = ("transformers.pytorch_utils.Conv1D",)
    is_described = False
    linear_maps: tuple[LinearMap, ...] = (
        AddmmMap(
            torch.addmm,
            ("input", "mat1", "mat2"),
            inputs=("mat1",),
            input_axis=0,
            weight="mat2",
            bias="input",
            tells_examples_apart=False,
        ),
    )
    sizes: tuple[str, str] = ("nx", "nf")

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("in", "out")}


class GeometricLinearKind(LinearKind):
    """``Linear`` of PyTorch Geometric, on which its graph convolutions are built."""

    modules: tuple[type[nn.Module], ...] = ()
    class_names: tuple[str, ...] = ("torch_geometric.nn.dense.linear.Linear",)
    is_described = False
    sizes: tuple[str, str] = ("in_channels", "out_channels")
