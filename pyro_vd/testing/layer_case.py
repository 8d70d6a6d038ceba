"""A layer of a kind with a batch of inputs, and what the tests of the kind ask about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pyro_vd.inference.attention import DECOMPOSED
from pyro_vd.networks import LayerKind, LinearMap, register_layer
from pyro_vd.networks.inputs import Inputs, in_float64, run, tensors_in
from pyro_vd.networks.layer_registry import exact_kind_of, linear_call, unregister_layer


class LayerCase:
    """A layer with random weights, some of them zero, in float64. The kind is registered while a test runs."""

    kind: LayerKind

    def layer(self) -> nn.Module:
        """Make a layer of a few units; at least two inputs and two outputs."""
        raise NotImplementedError

    def example(self) -> Inputs:
        """Make a batch of inputs for the layer, of at least two examples; a tuple for several inputs."""
        raise NotImplementedError

    def setup_method(self) -> None:
        torch.manual_seed(0)
        self.made: nn.Module = self.layer().double().eval()
        self.inputs: Inputs = in_float64(self.example())
        self.x: Tensor = next(tensors_in(self.inputs))
        self._registers = exact_kind_of(self.made) is None
        if self._registers:
            register_layer(self.kind)
        with torch.no_grad():
            for name in self.kind.weights(self.made):
                weight = getattr(self.made, name)
                weight.copy_(torch.randn_like(weight) * (torch.rand_like(weight) < 0.6))

    def teardown_method(self) -> None:
        if self._registers:
            unregister_layer(self.kind)

    def linear_calls(self) -> list[tuple[str, LinearMap, dict[str, Any], Tensor]]:
        """The linear maps that a forward pass applies to weights of the layer, by the weight, with arguments and output."""
        weights = {id(getattr(self.made, name)): name for name in self.kind.weights(self.made)}
        with _Calls() as calls:
            self.output()
        by_weight = [(weights.get(id(call[1][call[0].weight])), *call) for call in calls.made]
        return [(name, linear_map, arguments, output) for name, linear_map, arguments, output in by_weight if name is not None]

    def output(self) -> Tensor:
        """The output for the batch, the first of several."""
        return next(tensors_in(run(self.made, self.inputs)))

    def axis(self, tensor: Tensor) -> int:
        return cast(int, self.kind.unit_axis(self.made, tensor.ndim))

    def by_unit(self, tensor: Tensor) -> Tensor:
        """``(units, everything else)``."""
        return tensor.movedim(self.axis(tensor), 0).flatten(1)

    def positions(self, tensor: Tensor) -> Sequence[int]:
        """The sizes of the dimensions that hold neither examples nor units."""
        return [size for dim, size in enumerate(tensor.shape) if dim not in (0, self.axis(tensor))]

    def scaled(self, tensor: Tensor, by_unit: Tensor) -> Tensor:
        """A tensor of inputs, each unit multiplied by its number."""
        return tensor * by_unit.reshape([-1 if dim == self.axis(tensor) else 1 for dim in range(tensor.ndim)])


class _Calls(TorchFunctionMode):
    """Notes the calls of linear maps."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[LinearMap, dict[str, Any], Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in DECOMPOSED:
            with self:
                return DECOMPOSED[func](*args, **kwargs)
        output = func(*args, **kwargs)
        if (call := linear_call(func, args, kwargs)) is not None:
            self.made.append((*call, output))
        return output
