"""A plan that is carried out and verified: the smaller network is run beside the whole one.

A plan can be wrong where a forward pass depends on the sizes of its layers in a way that the graph does not show. Then the
units at the operations that differ stay, and another plan is made; in the worst case nothing is removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, fx, nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.applying import applied, prepared
from pyro_vd.compaction.attributes import literals, one_of_each
from pyro_vd.compaction.exported import Exported, NotExportedError, operation
from pyro_vd.compaction.front import default_example, selectable_input, selection_of
from pyro_vd.compaction.labels import varying
from pyro_vd.compaction.messages import messages_about
from pyro_vd.compaction.plan import ShrinkPlan
from pyro_vd.compaction.planning import Planning
from pyro_vd.compaction.rules import analyse
from pyro_vd.compaction.rules_movement import RULES as MOVEMENT
from pyro_vd.compaction.values import values_in
from pyro_vd.networks.checks import check_inputs_of, check_module
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.inputs import Inputs, in_float64, map_tensors, num_examples, rows, run, tensors_in

_MOST_WIDE = 30_000_000
"""Networks with more parameters, and those that cannot run in float64, are verified in their own precision."""

_ATTEMPTS = 6


@dataclass(frozen=True)
class Verified:
    """A plan, and the smaller network that it makes.

    Attributes:
        plan: the plan.
        net: the network.
        reason: why the network comes back whole, though something might go; None where it was followed.
    """

    plan: ShrinkPlan
    net: nn.Module
    reason: str | None = None


def verified(net: nn.Module, example: Inputs | None) -> Verified:
    """The plan for a network, carried out. Args and errors: see :func:`~pyro_vd.compact`."""
    check_module("net", net)
    example = None if example is None else check_inputs_of(net, example)
    whole = prepared(net)
    example = default_example(whole) if example is None else example
    if isinstance(example, Tensor) and example.ndim < 2:
        raise InputError(name="example", value=tuple(example.shape), allowed="of the shape of a batch, (n, …)")
    try:
        graph = Exported(whole, example)
    except NotExportedError as error:
        reason = f"{type(net).__name__} is left whole, as torch.export cannot follow it: {error}"
        return Verified(ShrinkPlan((), None, (reason,)), whole, reason)
    node = selectable_input(graph, example)
    analysis = analyse(graph, [] if node is None else [node])
    analysis.mark_live()
    planning, more, suspects = Planning(analysis, node), [], set[fx.Node]()
    selection = None if node is None else selection_of(analysis, node)
    if node is not None and selection is None:
        more.append(analysis.values[node].labels.flatten())
    check: _Check | None = None
    for attempt in range(_ATTEMPTS):
        plan = planning.plan(more, selection)
        right: ShrinkPlan | None = plan
        if plan.tensors or plan.inputs is not None:
            check = check or _Check(whole, example)
            right = check.right(plan)
        if right is not None:
            messages = messages_about(analysis, planning, right, suspects)
            return Verified(replace(right, messages=messages), applied(whole, right))
        found = _suspects(graph, analysis, None if check is None else check.small, example, suspects, attempt)
        if not found:
            break
        suspects |= found
        more += [value.labels[value.labels >= 0] for node in found for value in _read(analysis, node)]
    reason = f"{type(net).__name__} is left whole, as its forward pass depends on the sizes of its layers"
    return Verified(ShrinkPlan((), None, (reason,)), whole, reason)


def _read(analysis: Analysis, node: fx.Node) -> list[Any]:
    """The values of the inputs of a node, and of its output."""
    return list(values_in([analysis.values[source] for source in (*node.all_input_nodes, node)]))


class _Check:
    """The comparison of smaller networks with the whole one."""

    def __init__(self, whole: nn.Module, example: Inputs) -> None:
        self.small: nn.Module | None = None
        self._wide = sum(parameter.numel() for parameter in whole.parameters()) <= _MOST_WIDE
        try:
            self._take(whole, example)
        except Exception:
            if not self._wide:
                raise
            self._wide = False  # its forward pass may convert numbers to float32
            self._take(whole, example)

    def _take(self, whole: nn.Module, example: Inputs) -> None:
        """Run the whole network on batches of several kinds."""
        self._whole = self._copied(whole)
        self._cases: list[tuple[Any, list[Tensor]]] = []
        for number, x in enumerate(_batches(in_float64(example) if self._wide else example)):
            try:
                self._cases.append((x, _outputs(self._whole, x)))
            except Exception:  # the network may take batches of one size only
                if not number:
                    raise

    def right(self, plan: ShrinkPlan) -> ShrinkPlan | None:
        """The plan, or one that changes fewer numbers of modules, whichever gives the same outputs; None if none does."""
        if self.passes(plan):
            return plan
        small = self.small
        others = (replace(plan, attributes=chosen) for chosen in one_of_each(self._whole, plan.attributes))
        found = next((other for other in others if self.passes(other)), None)
        self.small = small
        return found

    def passes(self, plan: ShrinkPlan) -> bool:
        """Whether the network that a plan makes gives the same outputs."""
        self.small = applied(self._copied(self._whole), plan)
        in_float32 = any(norm.eps is not None for norm in plan.norms)  # others write their own where they need float32
        tolerance = (1e-5 if in_float32 else 1e-7) if self._wide else 1e-3
        try:
            for x, wanted in self._cases:
                for one, other in zip(_outputs(self.small, x), wanted, strict=True):
                    finite = other[other.isfinite()]
                    scale = float(finite.abs().max()) if finite.numel() else 1.0
                    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * (1 + scale), equal_nan=True)
        except Exception:  # a forward of the user's own can raise anything
            return False
        return True

    def _copied(self, net: nn.Module) -> nn.Module:
        copied = copy_network(net)
        return copied.double() if self._wide else copied


def _batches(x: Any) -> list[Any]:
    """The example, random numbers of its shape, and more and fewer rows of it."""
    generator = torch.Generator().manual_seed(0)

    def random(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.flip(0)
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)

    found = [x, map_tensors(random, x)]
    try:
        n = num_examples(x)
    except InputError:
        return found
    return [*found, rows(x, slice(0, 1)), rows(x, [*range(n), *range(n), 0])]


def _outputs(net: nn.Module, x: Any) -> list[Tensor]:
    """The tensors that a network returns; random numbers are the same ones at every call."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = run(net, map_tensors(torch.clone, x))
        leaves = found if isinstance(found, Tensor | tuple | list | dict) else torch.utils._pytree.tree_leaves(found)
        return list(tensors_in(leaves))


def _suspects(
    graph: Exported, analysis: Analysis, small: nn.Module | None, example: Inputs, before: set[fx.Node], attempt: int
) -> set[fx.Node]:
    """The operations, other than those known already, that may be why a smaller network is another function."""
    sized = {node for node in graph.nodes if operation(node) in MOVEMENT and _has_sizes(node) and _of_units(analysis, node)}
    if small is not None and attempt < 2:  # where a normalisation loses units, the graphs differ there first
        try:
            other = Exported(small, example)
        except (NotExportedError, InputError):
            return sized - before
        pairs = zip_longest(graph.nodes, other.nodes)
        for node, its in pairs:
            if node is None:
                break
            same = its is not None and node.target == its.target
            if not same or (node not in sized and literals(node) != literals(its) and _of_units(analysis, node)):
                return {node} - before or sized - before
    return sized - before


def _of_units(analysis: Analysis, node: fx.Node) -> bool:
    return any(varying(value.labels) for value in _read(analysis, node))


def _has_sizes(node: fx.Node) -> bool:
    return bool(literals(node))
