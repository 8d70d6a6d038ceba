"""What the kinds of layers claim, of today's and of two toy ones that these tests add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd import InputError
from pyro_vd.networks import LayerKind, LinearMap, layer_registry
from pyro_vd.networks.convolution_kinds import ConvolutionKind, TransposedConvolutionKind
from pyro_vd.networks.layer_kind import Axes
from pyro_vd.networks.linear_kind import LinearKind
from pyro_vd.testing import LayerKindConformance


class TestLinear(LayerKindConformance):
    kind = LinearKind()

    def layer(self) -> nn.Module:
        return nn.Linear(5, 4)

    def example(self) -> Tensor:
        return torch.randn(3, 5)


class TestLinearOverPositions(TestLinear):
    def layer(self) -> nn.Module:
        return nn.Linear(5, 4, bias=False)

    def example(self) -> Tensor:
        return torch.randn(2, 6, 5)


class TestConv1d(LayerKindConformance):
    kind = ConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.Conv1d(3, 4, 3, padding=20, bias=False)

    def example(self) -> Tensor:
        return torch.randn(2, 3, 7)


class TestConv2d(LayerKindConformance):
    kind = ConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(1, 0), padding_mode="circular")

    def example(self) -> Tensor:
        return torch.randn(2, 3, 6, 7)


class TestConv3d(LayerKindConformance):
    kind = ConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.Conv3d(2, 3, 2, dilation=2, padding="same")

    def example(self) -> Tensor:
        return torch.randn(2, 2, 4, 5, 4)


class TestGroupedConv2d(LayerKindConformance):
    kind = ConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.Conv2d(4, 6, 3, groups=2)

    def example(self) -> Tensor:
        return torch.randn(2, 4, 5, 5)


class TestConvTranspose1d(LayerKindConformance):
    kind = TransposedConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.ConvTranspose1d(3, 4, 3, stride=2, bias=False)

    def example(self) -> Tensor:
        return torch.randn(2, 3, 5)


class TestConvTranspose2d(LayerKindConformance):
    kind = TransposedConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.ConvTranspose2d(3, 4, 2, stride=3, padding=1, output_padding=2, dilation=4)

    def example(self) -> Tensor:
        return torch.randn(2, 3, 5, 4)


class TestConvTranspose3d(LayerKindConformance):
    kind = TransposedConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.ConvTranspose3d(4, 6, 2, groups=2)

    def example(self) -> Tensor:
        return torch.randn(2, 4, 3, 3, 3)


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
    """Not linear in its parameters alone, so no output can be drawn; linear in its inputs, so it can become smaller."""

    modules = (ScaledLinear,)

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("out", "in")}

    def matrix(self, layer: nn.Module) -> Tensor:
        scaled: Tensor = layer.weight * layer.scale  # type: ignore[operator, assignment]
        return scaled[..., None]


class TestScaledLinear(LayerKindConformance):
    kind = ScaledLinearKind()

    def layer(self) -> nn.Module:
        return ScaledLinear(5, 4)

    def example(self) -> Tensor:
        return torch.randn(3, 5)


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
    """The output of the first weight can be drawn; the second is drawn itself. The layer cannot become smaller."""

    modules = (Gated,)
    linear_maps = (LinearMap(F.linear),)

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"value": ("out", "in"), "gate": ("in", "out")}


class TestGated(LayerKindConformance):
    kind = GatedKind()

    def layer(self) -> nn.Module:
        return Gated(5, 4)

    def example(self) -> Tensor:
        return torch.randn(3, 5)


class WrongKind(ConvolutionKind):
    modules = (nn.Conv2d,)


class InputsFirst(WrongKind):
    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("in", "out", "kernel_0", "kernel_1")}


class NoKernel(WrongKind):
    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("out", "in")}


class AlwaysUniform(WrongKind):
    def is_uniform(self, layer: nn.Module) -> bool:
        return True


class UnitsLast(WrongKind):
    def unit_axis(self, layer: nn.Module, ndim: int) -> int | None:
        return ndim - 1


class OncePerExample(WrongKind):
    def applications(self, layer: nn.Module, name: str, inputs: Sequence[Any], output: Any) -> int:
        return len(output)


class NoMaps(WrongKind):
    linear_maps = ()


class AnotherOrder(WrongKind):
    linear_maps = (LinearMap(F.conv2d, ("input", "weight", "bias", "padding", "stride", "dilation", "groups"), 2),)


class OnlyWeights(WrongKind):
    def kept_entries(self, layer: nn.Module, inputs: Tensor, outputs: Tensor) -> dict[str, dict[int, Tensor]]:
        return {"weight": {0: outputs, 1: inputs}}


class NoStride(WrongKind):
    def arguments(self, layer: nn.Module) -> dict[str, Any]:
        return {name: value for name, value in super().arguments(layer).items() if name != "stride"}


class KeepsSizes(WrongKind):
    def take_sizes(self, layer: nn.Module) -> None:
        pass


WRONG: dict[str, tuple[LayerKind, str]] = {
    "inputs first": (InputsFirst(), "test_the_matrix_says_which_inputs_are_read"),
    "no kernel": (NoKernel(), "test_weights_have_one_axis_per_dimension"),
    "uniform though padded": (AlwaysUniform(), "test_constants_are_folded_where_the_kind_says"),
    "units last": (UnitsLast(), "test_units_are_where_the_kind_says"),
    "once per example": (OncePerExample(), "test_applications_agree_with_pytorchs_count_of_operations"),
    "no maps": (NoMaps(), "test_linear_maps_are_those_of_the_forward_pass"),
    "arguments in another order": (AnotherOrder(), "test_linear_maps_are_those_of_the_forward_pass"),
    "bias not made smaller": (OnlyWeights(), "test_a_smaller_layer_agrees_with_zeros_in_the_rest"),
    "stride not described": (NoStride(), "test_a_description_makes_an_equal_layer"),
    "sizes not taken": (KeepsSizes(), "test_a_smaller_layer_agrees_with_zeros_in_the_rest"),
}


class Padded(LayerKindConformance):
    kind = ConvolutionKind()

    def layer(self) -> nn.Module:
        return nn.Conv2d(3, 4, 3, stride=2, padding=(1, 0))

    def example(self) -> Tensor:
        return torch.randn(2, 3, 6, 7)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_claim_is_found(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, test = WRONG[case]
    right = Padded()
    right.setup_method()
    getattr(right, test)()
    right.teardown_method()
    monkeypatch.setattr(layer_registry, "_KINDS", {**layer_registry._KINDS, nn.Conv2d: wrong})
    for linear_map in wrong.linear_maps:
        monkeypatch.setitem(layer_registry.LINEAR_MAPS, linear_map.function, linear_map)
    conformance = Padded()
    conformance.kind = wrong
    conformance.setup_method()
    with pytest.raises((AssertionError, RuntimeError, InputError, TypeError)):
        getattr(conformance, test)()
    conformance.teardown_method()
