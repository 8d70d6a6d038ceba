"""Which inputs each output of a layer reads, and the bias that can take what constant inputs contribute."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from pyro_vd.compaction.exported import Exported
from pyro_vd.compaction.values import Value
from pyro_vd.networks.layer_registry import exact_kind_of


class Reads:
    """The entries of a layer's weight that are not zero.

    Args:
        matrix: ``(outputs, inputs of a group, kernel)``.
        groups: how many groups there are.
    """

    def __init__(self, matrix: Tensor, groups: int) -> None:
        self._matrix, self._groups = matrix, groups
        self._nonzero = (matrix != 0).any(2)

    def total(self, numbers: Tensor) -> Tensor:
        """``(outputs,)``: the sums over the inputs with these values."""
        if not bool(numbers.any()):
            return torch.zeros(len(self._matrix), dtype=torch.float64)
        by_group = numbers.reshape(self._groups, -1)
        used = by_group.any(0)
        rows = self._matrix[:, used].double().sum(2).unflatten(0, (self._groups, -1))
        return torch.einsum("goi,gi->go", rows, by_group[:, used]).flatten()

    def leave_out(self, inputs: Tensor) -> None:
        """Take these inputs for zero from now on."""
        if bool(inputs.any()):
            by_output = inputs.reshape(self._groups, -1).repeat_interleave(len(self._nonzero) // self._groups, 0)
            self._nonzero &= ~by_output

    def any_input(self) -> Tensor:
        """Mask of the outputs that read anything."""
        return self._nonzero.any(1)

    def marks(self, flow: Tensor, root: Tensor, needed: Tensor) -> Tensor:
        """``(outputs,)``: passes marks from the outputs back to the inputs they read, and notes them in ``needed``."""
        return cast(Tensor, _Marks.apply(flow, root, self._nonzero, self._groups, needed))


class _Marks(torch.autograd.Function):
    """Outputs of a layer whose gradients, taken as marks, go to the inputs that are read."""

    @staticmethod
    def forward(ctx: Any, flow: Tensor, root: Tensor, nonzero: Tensor, groups: int, needed: Tensor) -> Tensor:
        ctx.nonzero, ctx.groups, ctx.needed = nonzero, groups, needed
        return flow.new_zeros(len(nonzero))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        live = gradient > 0
        ctx.needed |= live
        read = (ctx.nonzero & live[:, None]).unflatten(0, (ctx.groups, -1)).any(1)
        return read.flatten().to(gradient.dtype), gradient.new_zeros(()), None, None, None


def bias_to_change(graph: Exported, node: fx.Node, weight: Value, bias: Value | None) -> str | None:
    """The name of the bias, there already or not, that belongs to one use of one weight alone; None if there is none."""
    if len(names := {name for name, _ in weight.sources}) != 1:
        return None
    (name,) = names
    if graph.uses(name) != 1:
        return None
    if bias is not None:
        given = {name for name, _ in bias.sources}
        own = given.pop() if len(given) == 1 else None
        return own if own is not None and graph.uses(own) == 1 and graph.tensor(own).shape == bias.shape else None
    path, _, _ = name.rpartition(".")
    module: nn.Module = graph.net.get_submodule(path)
    kind = exact_kind_of(module)
    if kind is None or getattr(module, kind.bias, 0) is not None:
        return None
    return f"{path}.{kind.bias}".lstrip(".")
