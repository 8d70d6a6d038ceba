"""Tests of all that a kind of layer claims of its layers."""

from __future__ import annotations

import copy
import json
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyro_vd.compaction import compact
from pyro_vd.distributions.unit_layout import UnitLayout
from pyro_vd.export.architecture import build, describe
from pyro_vd.networks import LinearMap
from pyro_vd.networks.flops import operations_counted
from pyro_vd.networks.inputs import call_arguments, run
from pyro_vd.networks.layer_registry import exact_kind_of
from pyro_vd.testing.layer_steps import StepsOfLayer

_PADDING = 32
"""Positions that padding may add along an axis and that :meth:`~pyro_vd.networks.LayerKind.growth` need not count."""


class LayerKindConformance(StepsOfLayer):
    """Tests of a :class:`~pyro_vd.networks.LayerKind`. A subclass gives the kind, a layer and a batch of its inputs.

    .. code-block:: python

        class TestMyLayer(LayerKindConformance):
            kind = MyLayerKind()

            def layer(self) -> nn.Module:
                return MyLayer(5, 4)

            def example(self) -> Tensor:
                return torch.randn(3, 5)

    The kind is registered for each test, unless it is registered already. Everything is computed in float64. A claim that a
    kind does not make, such as a matrix, is not tested.
    """

    def test_the_layer_is_of_the_kind(self) -> None:
        known = exact_kind_of(self.made)
        assert known is not None
        assert type(known) is type(self.kind), f"{type(self.made).__name__} belongs to {known}"

    def test_weights_have_one_axis_per_dimension(self) -> None:
        assert self.kind.weights(self.made), "a kind without a weight"
        for name, axes in self.kind.weights(self.made).items():
            weight = getattr(self.made, name)
            assert isinstance(weight, nn.Parameter), f"{name} is no parameter"
            assert weight.ndim == len(axes) == len(set(axes)), f"{name} of shape {tuple(weight.shape)} has the axes {axes}"
            kernel = tuple(f"kernel_{k}" for k in range(len(set(axes) - {"out", "in"})))
            assert set(axes) <= {"out", "in", *kernel}, f"{name}: unknown axes in {axes}"

    @torch.no_grad()
    def test_units_are_where_the_kind_says(self) -> None:
        inputs, outputs = self.kind.units(self.made)
        for tensor, units in ((self.x, inputs), (self.output(), outputs)):
            axis = self.kind.unit_axis(self.made, tensor.ndim)
            if axis is None:
                assert self.kind.matrix(self.made) is None, f"no axis for units in a batch of shape {tuple(tensor.shape)}"
            else:
                assert tensor.shape[axis] == units

    @torch.no_grad()
    def test_linear_maps_are_those_of_the_forward_pass(self) -> None:
        calls = self.linear_calls()
        assert bool(calls) == bool(self.kind.linear_maps)
        assert len({name for name, _, _, _ in calls}) == len(calls), "a weight is used twice; its outputs cannot be drawn"
        for name, linear_map, arguments, output in calls:
            assert linear_map in self.kind.linear_maps, f"{name} is used by {linear_map.function}, which the kind does not name"
            torch.testing.assert_close(linear_map.output(arguments, getattr(self.made, name)), output)

    def test_outputs_of_linear_maps_have_independent_terms(self) -> None:
        """The variance of f(x; w) is f(x²; σ²) where the entries of w are independent with variances σ²."""
        with torch.no_grad():
            calls = self.linear_calls()
        for name, linear_map, arguments, output in calls:
            weight = getattr(self.made, name).detach()
            variance = torch.rand_like(weight)

            def mean(w: Tensor, f: LinearMap = linear_map, given: dict[str, Any] = arguments) -> Tensor:
                return f.output(given, w)

            slopes = cast(Tensor, torch.autograd.functional.jacobian(mean, weight)).reshape(output.numel(), -1)
            wanted = slopes.square() @ variance.flatten()
            torch.testing.assert_close(linear_map.variance(arguments, variance).flatten(), wanted)

    def other_operations(self) -> int:
        """The operations of a forward pass in products without a weight, as those of queries and keys in attention."""
        return 0

    @torch.no_grad()
    def test_products_agree_with_pytorchs_count_of_operations(self) -> None:
        with operations_counted() as counter:
            output = run(self.made, self.inputs)
        args, kwargs = call_arguments(self.inputs)
        products = self.kind.products(self.made, (*args, *kwargs.values()), output)
        counted = sum(2 * weight.numel() * times for weight, times in products)
        assert counted + self.other_operations() == counter.get_total_flops()

    @torch.no_grad()
    def test_the_matrix_says_which_inputs_are_read(self) -> None:
        if (matrix := self.kind.matrix(self.made)) is None:
            return
        inputs, outputs = self.kind.units(self.made)
        assert matrix.shape[:2] == (outputs, inputs)
        reads, before = (matrix != 0).any(2), self.by_unit(self.made(self.x))
        for unit in range(inputs):
            changed = self.x.clone()
            changed.select(self.axis(self.x), unit).normal_()
            differs = (self.by_unit(self.made(changed)) - before).abs().amax(1) > 1e-9
            assert torch.equal(differs, reads[:, unit]), f"outputs that depend on input {unit}"

    @torch.no_grad()
    def test_constants_are_folded_where_the_kind_says(self) -> None:
        matrix = self.kind.matrix(self.made)
        if matrix is None or not self.kind.is_uniform(self.made):
            return
        inputs, _ = self.kind.units(self.made)
        constants, bias = torch.randn(inputs, dtype=torch.float64), getattr(self.made, self.kind.bias, None)
        found = self.by_unit(self.made(self.scaled(torch.ones_like(self.x), constants)))
        wanted = matrix.sum(2) @ constants + (0 if bias is None else bias)
        torch.testing.assert_close(found, wanted[:, None].expand_as(found))

    @torch.no_grad()
    def test_a_bias_is_added_to_the_output_units(self) -> None:
        if self.kind.matrix(self.made) is None or not hasattr(self.made, self.kind.bias):
            return
        if (own := getattr(self.made, self.kind.bias)) is not None:
            own.zero_()
        without = self.by_unit(self.made(self.x))
        bias = torch.randn(len(without), dtype=torch.float64)
        setattr(self.made, self.kind.bias, nn.Parameter(bias))
        torch.testing.assert_close(self.by_unit(self.made(self.x)), without + bias[:, None])

    @torch.no_grad()
    def test_a_smaller_layer_agrees_with_zeros_in_the_rest(self) -> None:
        if self.kind.matrix(self.made) is None:
            return
        inputs, outputs = (torch.arange(0, units, 2) for units in self.kind.units(self.made))
        small = copy.deepcopy(self.made)
        by_unit = {"in": inputs, "out": outputs}
        for name, axes in {self.kind.bias: ("out",), **self.kind.weights(small)}.items():
            if (tensor := getattr(small, name, None)) is not None:
                for dim, axis in enumerate(axes):
                    tensor = tensor.index_select(dim, by_unit[axis]) if axis in by_unit else tensor
                setattr(small, name, nn.Parameter(tensor))
        self.kind.take_sizes(small)
        assert self.kind.units(small) == (len(inputs), len(outputs))
        rest = torch.zeros(self.x.shape[self.axis(self.x)], dtype=torch.float64).index_fill(0, inputs, 1)
        found = self.by_unit(small(self.x.index_select(self.axis(self.x), inputs)))
        torch.testing.assert_close(found, self.by_unit(self.made(self.scaled(self.x, rest)))[outputs])

    @torch.no_grad()
    def test_noise_on_input_units_is_noise_on_their_entries_of_weights(self) -> None:
        if self.kind.matrix(self.made) is None and self.kind.input_groups(self.made) == 1:
            return
        noise = torch.rand(self.kind.units(self.made)[0], dtype=torch.float64) + 0.5
        wanted = self.made(self.scaled(self.x, noise))
        for name, axes in self.kind.weights(self.made).items():
            weight, axis = getattr(self.made, name), axes.index("in")
            layout = UnitLayout(len(noise), axis, self.kind.input_groups(self.made))
            weight.mul_(layout.over_weight(noise, weight.shape))
        torch.testing.assert_close(self.made(self.x), wanted)

    @torch.no_grad()
    def test_a_description_makes_an_equal_layer(self) -> None:
        net = nn.Sequential(self.made)
        described = json.loads(json.dumps(describe(net)))
        assert (described is not None) == self.kind.is_described
        if described is None:
            return
        built = build("the description", described).to_empty(device="cpu").double().eval()
        built.load_state_dict(net.state_dict())
        assert repr(built) == repr(net)
        assert torch.equal(run(cast(nn.Sequential, built)[0], self.inputs), self.output())

    @torch.no_grad()
    def test_growth_bounds_the_positions_of_the_output(self) -> None:
        if self.kind.unit_axis(self.made, self.x.ndim) is None:
            return
        growth = self.kind.growth(self.made)
        for given, made in zip(self.positions(self.x), self.positions(self.made(self.x)), strict=True):
            assert made <= growth * (given + _PADDING)

    @torch.no_grad()
    def test_a_pruned_layer_becomes_smaller_without_a_change_of_its_outputs(self) -> None:
        if self.kind.matrix(self.made) is None:
            return
        for name, axes in self.kind.weights(self.made).items():
            getattr(self.made, name).select(axes.index("in"), 0).zero_()
        net = nn.Sequential(self.made)
        small = compact(net, self.x)
        (layer,) = (module for module in small.modules() if type(module) is type(self.made))
        assert self.kind.units(layer)[0] < self.kind.units(self.made)[0]
        torch.testing.assert_close(small(self.x), net(self.x))
