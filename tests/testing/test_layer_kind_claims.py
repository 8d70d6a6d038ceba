"""The conformance tests of layer kinds find claims that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd import InputError
from pyro_vd.networks import LayerKind, LinearMap, layer_registry
from pyro_vd.networks.convolution_kinds import ConvolutionKind
from pyro_vd.networks.layer_kind import Axes
from pyro_vd.testing import LayerKindConformance


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
    "once per example": (OncePerExample(), "test_products_agree_with_pytorchs_count_of_operations"),
    "no maps": (NoMaps(), "test_linear_maps_are_those_of_the_forward_pass"),
    "arguments in another order": (AnotherOrder(), "test_linear_maps_are_those_of_the_forward_pass"),
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
