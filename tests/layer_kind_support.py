"""Two kinds of layers that tests add: one that becomes smaller, and one with two weights that does not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd.networks import LayerKind, LinearMap
from pyro_vd.networks.layer_kind import Axes


class ScaledLinear(nn.Module):
    """A linear layer whose weight is multiplied by a number that it learns."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale)


class ScaledLinearKind(LayerKind):
    """The weight is multiplied before it is used, so it is drawn itself; the layer is linear in its inputs."""

    modules = (ScaledLinear,)

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("out", "in")}

    def matrix(self, layer: nn.Module) -> Tensor:
        scaled: Tensor = layer.weight * layer.scale  # type: ignore[operator, assignment]
        return scaled[..., None]


class Gated(nn.Module):
    """Two weights in different orders, and an output that is not linear in the inputs."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.value = nn.Parameter(torch.randn(out_features, in_features))
        self.gate = nn.Parameter(torch.randn(in_features, out_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.value) * (x @ self.gate).sigmoid()


class GatedKind(LayerKind):
    """The output of the first weight can be drawn; the second is drawn itself."""

    modules = (Gated,)
    linear_maps = (LinearMap(F.linear),)

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"value": ("out", "in"), "gate": ("in", "out")}
