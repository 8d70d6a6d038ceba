"""First pass, *place*: find the units that each tensor of a traced network holds, and the modules that make them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import fx, nn

from pyro_vd._core.messages import some_of
from pyro_vd.compaction.parts import Layer, Norm, Part, Selection
from pyro_vd.compaction.units import Space, Units
from pyro_vd.networks.layer_registry import exact_kind_of
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.norms import BATCH_NORMS
from pyro_vd.networks.operations import POOLING, is_batch_size_only, is_elementwise, is_flatten, is_in_place
from pyro_vd.networks.tracing import Trace


@dataclass
class Placement:
    """The units of a traced network.

    Attributes:
        trace: of the network in evaluation mode.
        shapes: the shape of the output of each node, for one batch.
        units: the units that the output of a node holds.
        parts: the modules whose size can change, in the network's order.
    """

    trace: Trace
    shapes: dict[fx.Node, torch.Size]
    units: dict[fx.Node, Units] = field(default_factory=dict)
    parts: dict[fx.Node, Part] = field(default_factory=dict)
    _pinning: dict[str, list[str]] = field(default_factory=dict)
    """The nodes whose inputs are pinned, by the name of their operation."""
    _aliases: dict[fx.Node, list[fx.Node]] = field(default_factory=dict)
    """The nodes that may share the storage of a node's output."""

    @property
    def messages(self) -> list[str]:
        """Messages about the units that are left as they are."""
        listed = "; ".join(some_of(kind, names) for kind, names in self._pinning.items())
        return [f"units that these operations read are left as they are: {listed}"] if listed else []

    def tensors(self, node: fx.Node) -> list[fx.Node]:
        """The inputs of a node that hold units. The batch size, which may be an input of a flattening, holds none."""
        sources = node.all_input_nodes
        return sources[:1] if sources and is_flatten(self.trace, node, len(self.shapes.get(sources[0], ()))) else sources

    def add(self, node: fx.Node) -> None:
        """Find the units that a node's output holds."""
        self._aliases[node] = [node]
        if (part := self._layer(node)) is not None:
            self.parts[node] = part
            self.units[node] = part.output
        elif (axis := self._axis(node)) is not None:
            first, *others = (self.units[source] for source in self.tensors(node))
            for other in others:
                first.space.join(other.space)
            self.units[node] = Units(first.space, axis, self.shapes[node][axis])
            self._note_storage(node)
            if self.trace.operation(node) in BATCH_NORMS:
                self.parts[node] = Norm(cast(nn.Module, self.trace.module(node)), self.units[node])
        elif not is_batch_size_only(node):
            self._pin(node)

    def _layer(self, node: fx.Node) -> Layer | Selection | None:
        """The layer that a node is, where its size can change."""
        module, shape = self.trace.module(node), self.shapes.get(node, torch.Size())
        if isinstance(module, SelectInputs) and self.trace.owns_its_tensors(node):
            self._pin(node)
            dim = module.dim % len(shape)
            return Selection(module, Units(Space(shape[dim]), dim, shape[dim]))
        kind = exact_kind_of(module)
        if module is None or kind is None or not self.trace.owns_its_tensors(node) or len(node.all_input_nodes) != 1:
            return None
        axis, matrix = kind.unit_axis(module, len(shape)), kind.matrix(module)
        if axis is None or matrix is None or not matrix.is_floating_point():
            return None
        source = self.units.get(node.all_input_nodes[0])
        if source is not None and source.axis != axis:
            self._pin(node)
            source = None
        return Layer(module, kind, source, Units(Space(shape[axis]), axis, shape[axis]))

    def _axis(self, node: fx.Node) -> int | None:
        """The dimension in which a node's output holds the units of its inputs; None if it does not act on each separately."""
        trace, shape, tensors = self.trace, self.shapes.get(node), self.tensors(node)
        if shape is None or not tensors or any(source not in self.units for source in tensors):
            return None
        operation, sources = trace.operation(node), [self.units[source] for source in tensors]
        axis, ndims = sources[0].axis, {len(self.shapes[source]) for source in tensors}
        if is_flatten(trace, node, max(ndims)):
            fits = axis == 1
        elif operation in BATCH_NORMS:
            norm = cast(Any, trace.module(node))
            fits = axis == 1 and trace.owns_its_tensors(node) and norm.running_mean is not None and not norm.training
        elif operation in POOLING:
            fits = axis == 1 and ndims == {len(shape)} == {POOLING[operation] + 2}
        else:
            alike = {(units.axis, units.features, units.space.size) for units in sources}
            fits = is_elementwise(trace, node) and len(alike) == 1 and ndims == {len(shape)}
        return axis if fits else None

    def _note_storage(self, node: fx.Node) -> None:
        """Pin units that are changed in place where the values before the change may be read again."""
        source, in_place = self.tensors(node)[0], is_in_place(self.trace, node)
        order = self.trace.order
        if in_place and any(order[user] > order[node] for alias in self._aliases[source] for user in alias.users):
            self._pin(node)
        if in_place or len(self.tensors(node)) == 1:
            self._aliases[node] = self._aliases[source]
            self._aliases[node].append(node)

    def _pin(self, node: fx.Node) -> None:
        pinned = [self.units[source].space for source in node.all_input_nodes if source in self.units]
        for space in pinned:
            space.pinned = True
        if pinned and node.op != "output" and all(user.op != "output" for user in node.users):
            self._pinning.setdefault(self.trace.kind(node), []).append(str(node.target) if node.op == "call_module" else "")


def place(trace: Trace, shapes: dict[fx.Node, torch.Size]) -> Placement:
    """Find the units that each tensor holds.

    Operations that pass on units one by one (elementwise operations, sums, pooling, flattening, batch normalisation) keep them
    in one space. Any other operation pins the units that it reads: they stay as they are, so that its output stays the same.

    Args:
        trace: of the network in evaluation mode.
        shapes: the shape of the output of each node, as :meth:`~pyro_vd.networks.tracing.Trace.shapes` finds them.
    """
    placement = Placement(trace, shapes)
    for node in trace.graph.nodes:
        placement.add(node)
    return placement
