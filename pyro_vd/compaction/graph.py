"""Which units of a network matter: where each tensor holds them, which are constant, which the output depends on."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from pyro_vd._core.messages import some_of
from pyro_vd.compaction.layers import Layer, Norm, Selection, Space, Units
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.layer_registry import exact_kind_of
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.operations import NORMS, POOLING, is_batch_size_only, is_elementwise, is_flatten, is_in_place
from pyro_vd.networks.tracing import Trace


class UnitGraph:
    """The units of a traced network.

    Operations that pass units on one by one (elementwise ones, sums, pooling, flattening, batch normalisation) keep them in
    one space. Any other pins the units that it reads: they stay as they are, so that it gives what it gave before.

    Args:
        trace: of the network in evaluation mode.
        example: a batch that it takes.

    Raises:
        InputError: the network cannot take the example.
    """

    def __init__(self, trace: Trace, example: Tensor) -> None:
        self._trace = trace
        self._shapes = trace.shapes(example)
        self._units: dict[fx.Node, Units] = {}
        self._parts: dict[fx.Node, Layer | Norm | Selection] = {}
        self._aliases: dict[fx.Node, list[fx.Node]] = {}  # nodes that may share one storage
        self._pinning: dict[str, list[str]] = {}  # by what they do, those whose units are left as they are
        for node in trace.graph.nodes:
            self._place(node)
        for node, units in self._units.items():
            if not units.space.pinned:
                units.constant = self._constant(node)
        self._spread()

    @property
    def parts(self) -> list[Layer | Norm | Selection]:
        """The modules whose size can change, in the network's order."""
        return list(self._parts.values())

    @property
    def messages(self) -> list[str]:
        """What there is to say of the units that are left as they are."""
        listed = "; ".join(some_of(kind, names) for kind, names in self._pinning.items())
        return [f"units that these read are left as they are: {listed}"] if listed else []

    def _place(self, node: fx.Node) -> None:
        """Find the units that a node's output holds."""
        self._aliases[node] = [node]
        if (part := self._layer(node)) is not None:
            self._parts[node] = part
            self._units[node] = part.output
        elif (axis := self._axis(node)) is not None:
            first, *others = (self._units[source] for source in self._tensors(node))
            for other in others:
                first.space.join(other.space)
            self._units[node] = Units(first.space, axis, self._shapes[node][axis])
            self._note_storage(node)
            if self._trace.operation(node) in NORMS:
                self._parts[node] = Norm(cast(nn.Module, self._trace.module(node)), self._units[node])
        elif not is_batch_size_only(node):
            self._pin(node)

    def _layer(self, node: fx.Node) -> Layer | Selection | None:
        """The layer that a node is, where its size can change."""
        module, shape = self._trace.module(node), self._shapes.get(node, torch.Size())
        if isinstance(module, SelectInputs) and self._trace.owns_its_tensors(node):
            self._pin(node)
            dim = module.dim % len(shape)
            return Selection(module, Units(Space(shape[dim]), dim, shape[dim]))
        kind = exact_kind_of(module)
        if module is None or kind is None or not self._trace.owns_its_tensors(node) or len(node.all_input_nodes) != 1:
            return None
        axis, matrix = kind.unit_axis(module, len(shape)), kind.matrix(module)
        if axis is None or matrix is None or not matrix.is_floating_point():
            return None
        source = self._units.get(node.all_input_nodes[0])
        if source is not None and source.axis != axis:
            self._pin(node)
            source = None
        return Layer(module, kind, source, Units(Space(shape[axis]), axis, shape[axis]))

    def _tensors(self, node: fx.Node) -> list[fx.Node]:
        """The inputs of a node; of a flattening not the batch size, which may be another."""
        sources = node.all_input_nodes
        return sources[:1] if sources and is_flatten(self._trace, node, len(self._shapes.get(sources[0], ()))) else sources

    def _axis(self, node: fx.Node) -> int | None:
        """Where a node's output holds the units of its inputs, None unless it passes each on by itself."""
        trace, shape, tensors = self._trace, self._shapes.get(node), self._tensors(node)
        if shape is None or not tensors or any(source not in self._units for source in tensors):
            return None
        operation, sources = trace.operation(node), [self._units[source] for source in tensors]
        axis, ndims = sources[0].axis, {len(self._shapes[source]) for source in tensors}
        if is_flatten(trace, node, max(ndims)):
            fits = axis == 1
        elif operation in NORMS:
            norm = cast(Any, trace.module(node))
            fits = axis == 1 and trace.owns_its_tensors(node) and norm.running_mean is not None and not norm.training
        elif operation in POOLING:
            fits = axis == 1 and ndims == {len(shape)} == {POOLING[operation] + 2}
        else:
            alike = {(units.axis, units.features, units.space.size) for units in sources}
            fits = is_elementwise(trace, node) and len(alike) == 1 and ndims == {len(shape)}
        return axis if fits else None

    def _note_storage(self, node: fx.Node) -> None:
        """Pin units that are changed in place where what they were before may be wanted again."""
        source, in_place = self._tensors(node)[0], is_in_place(self._trace, node)
        order = self._trace.order
        if in_place and any(order[user] > order[node] for alias in self._aliases[source] for user in alias.users):
            self._pin(node)
        if in_place or len(self._tensors(node)) == 1:
            self._aliases[node] = self._aliases[source]
            self._aliases[node].append(node)

    def _pin(self, node: fx.Node) -> None:
        pinned = [self._units[source].space for source in node.all_input_nodes if source in self._units]
        for space in pinned:
            space.pinned = True
        if pinned and node.op != "output" and all(user.op != "output" for user in node.users):
            self._pinning.setdefault(self._trace.kind(node), []).append(str(node.target) if node.op == "call_module" else "")

    def _constant(self, node: fx.Node) -> Tensor:
        """Which of a node's features are constant, by its formula or by carrying it out on the constants."""
        part = self._parts.get(node)
        if isinstance(part, Selection):
            return self._units[node].constant
        if isinstance(part, Layer):
            return part.constant
        inputs = {source: self._spread_out(source) for source in self._tensors(node)}
        if isinstance(part, Norm):
            (values,) = inputs.values()
            values.movedim(1, -1)[..., part.ignores] = 0  # as good as anything finite
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: inputs.get(source, 1))  # 1: the batch size
        before = [values.clone() for values in inputs.values()]
        if (module := self._trace.module(node)) is not None:
            result = copy_network(module).cpu().double()(*args, **kwargs)
        elif node.op == "call_method":
            result = getattr(args[0], cast(str, node.target))(*args[1:], **kwargs)
        else:
            result = cast(Any, node.target)(*args, **kwargs)
        lowest, highest = _extremes(result, self._units[node].axis)
        same = highest - lowest <= 1e-12 * highest.abs()  # the same number everywhere, but for rounding
        if self._trace.operation(node) in POOLING:  # padding must not count, whatever the size of the input
            value, _ = _extremes(before[0], 1)
            same &= (lowest - value).abs() <= 1e-9 * value.abs()
        return lowest.where(same & lowest.isfinite(), torch.nan)

    def _spread_out(self, node: fx.Node) -> Tensor:
        """A node's constants as one example of its output's shape."""
        units, shape = self._units[node], self._shapes[node]
        by_axis = [1] * len(shape)
        by_axis[units.axis] = units.features
        return units.constant.reshape(by_axis).expand(1, *shape[1:]).clone()

    def _spread(self) -> None:
        """Go back from what is pinned, and mark as live what the output depends on."""
        for units in self._units.values():
            if units.space.pinned:
                units.space.live[:] = True
        for part in reversed(self.parts):
            if isinstance(part, Layer):  # whatever reads its outputs comes after it
                part.needed = part.output.live.clone()
                if part.source is not None:
                    space = part.source.space
                    space.live |= part.reads[part.needed].any(0).reshape(space.size, -1).any(1)


def _extremes(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    values = x.detach().movedim(axis, 0).flatten(1)
    return values.amin(1), values.amax(1)
