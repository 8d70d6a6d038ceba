"""A walk along a network's graph that finds its units, those that are constant, and those that its outputs depend on.

Every tensor of the graph gets a :class:`~.values.Value`. The rules, one per operation, make the value of an output from those
of the inputs (:mod:`.rules`). Three things come out:

labels      which entries of activations and parameters belong to the same unit, and so are kept or removed together
constants   which entries are the same for all inputs
liveness    which entries the outputs depend on; marks go backward along :attr:`~.values.Value.flow` as gradients do
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.exported import Exported
from pyro_vd.compaction.findings import Heads, Held, Norm, Parts, Product, Scores, Table
from pyro_vd.compaction.labels import Labels, Places, Sources, along, core, varying
from pyro_vd.compaction.values import Value, unknown, values_in


class Analysis:
    """What is known of all tensors in a network's graph.

    Attributes:
        graph: the graph.
        labels: of all units.
        places: the labels of the indices of parameters and buffers.
        values: what is known of the output of every node.
        held, products, scores, heads, tables, parts, norms: what the rules note; see :mod:`.findings`.
        ranges: pairs of labels: the first ones stay if any of the second ones does, which lie behind them.
        equal_parts: lists of vectors of labels of which the same number stays in each.
        wider: pairs of labels: more of the first ones stay than of the second ones.
        fillers: operations that make zeros, and the labels of the units that these meet.
        sinks: marks that start from elsewhere than the outputs, for :meth:`mark_live`.
        live: by label, after :meth:`mark_live`, whether the outputs depend on it.
    """

    def __init__(self, graph: Exported) -> None:
        self.graph = graph
        self.labels: Labels = Labels()
        names = dict.fromkeys(graph.names.values())
        self.places: Places = Places(self.labels, {name: graph.tensor(name).shape for name in names}, graph.parts())
        self.values: dict[fx.Node, Any] = {}
        self.held: list[Held] = []
        self.products: list[Product] = []
        self.scores: list[Scores] = []
        self.heads: list[Heads] = []
        self.tables: list[Table] = []
        self.parts: list[Parts] = []
        self.norms: list[Norm] = []
        self.ranges: list[tuple[Tensor, Tensor]] = []
        self.equal_parts: list[list[Tensor]] = []
        self.wider: list[tuple[Tensor, Tensor]] = []
        self.fillers: list[tuple[fx.Node, Tensor]] = []
        with torch.inference_mode(False):
            self.root: Tensor = torch.zeros((), requires_grad=True)
        self.sinks: list[Tensor] = []
        self._marks: list[Tensor] = []
        self.live: Tensor = torch.zeros(0, dtype=torch.bool)

    # Units

    def hold(self, node: fx.Node | None, labels: Tensor, constant: Tensor | None = None) -> None:
        """Note that the units with these labels stay; without a node, because nothing could be done about it."""
        small = core(labels)
        valid = small >= 0
        if not bool(valid.any()):
            return
        numbers = torch.full((), torch.nan, dtype=torch.float64) if constant is None else constant
        numbers = numbers.expand(labels.shape)
        for dim, size in enumerate(small.shape):
            if size != numbers.shape[dim]:
                numbers = numbers.narrow(dim, 0, 1)
        self.held.append(Held(node, small[valid], numbers.isfinite()[valid]))

    def hold_value(self, node: fx.Node | None, value: Value) -> None:
        """Note that all units of a value, and those of the parameters that it is made of, stay."""
        self.hold(node, value.labels, value.constant)
        for place, index in value.sources.items():
            self.hold(node, self.places.labels_at(place, core(index)))

    def units_along(self, value: Value, axis: int, node: fx.Node | None = None) -> tuple[Tensor, Tensor]:
        """The labels and constants of the units along an axis; along all others, units at the same index are united.

        A constant that differs along the other axes is NaN.
        """
        axis %= len(value.shape)
        small = core(value.labels)
        rows = small.movedim(axis, 0).reshape(small.shape[axis], -1)
        vector = rows.amax(1)
        mixed = (rows < 0) & (vector >= 0)[:, None]
        if bool(mixed.any()):  # padding of zeros may lie beside units
            zeros = (value.constant == 0).expand(small.shape).movedim(axis, 0).reshape(rows.shape)
            self.hold(node, rows.where((mixed & ~zeros).any(1)[:, None], -1))
        if rows.shape[1] > 1:
            self.labels.unite(rows, vector[:, None])
        vector = vector.expand(value.shape[axis]) if len(vector) == 1 else vector
        numbers = core(value.constant)
        values = numbers.movedim(axis, 0).reshape(numbers.shape[axis], -1)
        low, high = values.amin(1), values.amax(1)  # NaN where one is NaN
        same = high - low <= 1e-12 * high.abs()
        return vector, low.where(same, torch.nan).expand(value.shape[axis])

    def link(self, node: fx.Node, sources: Sources, labels: Tensor) -> None:
        """Unite the units of parameters with those of an activation where both differ along the same axis."""
        axes = varying(labels)
        for place, index in sources.items():
            if axes & varying(index):
                small, other = core(index), core(labels)
                self.hold(None, self.places.link(place, small, other))

    def fresh(self, count: int, axis: int, shape: Sequence[int]) -> Tensor:
        """New labels along an axis of a tensor of this shape."""
        return along(self.labels.new(count), axis, shape)

    def fill(self, node: fx.Node, filler: fx.Node, labels: Tensor) -> None:
        """Let the size of a tensor of zeros follow the number of the units that it meets, or keep these units.

        It can follow where the module that makes it is one of PyTorch, or has the size as an attribute.
        """
        small, axes = core(labels), [*varying(labels)]
        module = self.graph.net.get_submodule(self.graph.path(filler))
        vector = small.movedim(axes[0], 0).reshape(small.shape[axes[0]], -1)[:, 0] if len(axes) == 1 else small[:0]
        numbers = [number for number in vars(module).values() if type(number) is int]
        if len(axes) == 1 and (type(module).__module__.startswith("torch.nn.") or len(vector) in numbers):
            self.fillers.append((filler, vector))
        else:
            self.hold(node, labels)

    def filled(self, node: fx.Node, value: Value) -> Value:
        """Zeros as units along the last axis."""
        labels = self.fresh(value.shape[-1], len(value.shape) - 1, value.shape)
        if value.filler is not None:
            self.fill(node, value.filler, labels)
        return Value(labels, self.root.expand(value.shape), value.constant)

    # Values and marks

    def unknown(self, node: fx.Node, *given: Any) -> Any:
        """The output of an operation that has no rule: all units that it reads stay, and are needed."""
        flow = self.root * 0
        for value in values_in(given):
            self.hold_value(node, value)
            flow = flow + value.flow.sum()
        self.sinks.append(flow)
        made = node.meta.get("val")
        return [_of_shape(part, flow) for part in made] if isinstance(made, tuple | list) else _of_shape(made, flow)

    def watched(self, value: Any) -> Any:
        """Note which entries of a value are live when marks go backward."""
        if not isinstance(value, Value) or not value.flow.requires_grad:
            return value
        flow, labels = value.flow.view_as(value.flow), core(value.labels)

        def arrived(gradient: Tensor) -> Tensor:
            marks = gradient > 0
            dims = [dim for dim, size in enumerate(labels.shape) if size == 1 and marks.shape[dim] != 1]
            reached = marks.any(dim=dims, keepdim=True) if dims else marks
            self._marks.append(labels[reached & (labels >= 0)])
            return marks.to(gradient.dtype)

        flow.register_hook(arrived)
        return replace(value, flow=flow)

    @torch.inference_mode(False)
    def mark_live(self) -> None:
        """Go back from the outputs and mark the units that they depend on.

        Where a layer is used several times, as in a loop over time, an output that is needed after one step is taken for needed
        after all of them: with more steps than the example has, it is.
        """
        flows = [value.flow.sum() for node in self.graph.outputs if isinstance(value := self.values[node], Value)]
        flows += self.sinks
        self.live = torch.zeros(self.labels.size, dtype=torch.bool)
        repeated = self._repeated()
        while flows := [flow for flow in flows if flow.requires_grad]:
            torch.autograd.grad(torch.stack(flows).sum(), self.root, retain_graph=bool(repeated), allow_unused=True)
            if self._marks:
                self.live[self.labels.find(torch.cat([marks.flatten() for marks in self._marks]))] = True
            self._marks.clear()
            flows = []
            for product in repeated:
                late = self.live[self.labels.find(product.outputs)] & ~product.needed
                if bool(late.any()):
                    flow = self.values[product.node].flow
                    axis = next(iter(varying(self.values[product.node].labels)), -1)
                    flows.append((flow * along(late.float(), axis % flow.ndim, flow.shape)).sum())

    def _repeated(self) -> list[Product]:
        """The products whose weight another one has too."""
        names = [frozenset(name for name, _ in product.into) for product in self.products]
        uses = Counter(names)
        return [product for product, name in zip(self.products, names, strict=True) if name and uses[name] > 1]


def _of_shape(made: Any, flow: Tensor) -> Any:
    return Value(unknown(made.shape).labels, flow.expand(made.shape)) if isinstance(made, Tensor) else made
