"""A plan that is carried out and verified: the smaller network is run beside the whole one.

A plan can be wrong where a forward pass depends on the sizes of its layers in a way that the graph does not show. Then the
units at the operations that differ stay, and another plan is made; in the worst case nothing is removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, fx, nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.applying import applied, prepared
from pyro_vd.compaction.comparing import Comparison, Failure, longer
from pyro_vd.compaction.exported import Exported, NotExportedError
from pyro_vd.compaction.front import default_example, selectable_input, selection_of
from pyro_vd.compaction.messages import messages_about
from pyro_vd.compaction.plan import ShrinkPlan
from pyro_vd.compaction.planning import Planning
from pyro_vd.compaction.rules import analyse
from pyro_vd.compaction.scaling import note_scales
from pyro_vd.compaction.suspects import suspects_of, values_around
from pyro_vd.networks.checks import check_inputs_of, check_module
from pyro_vd.networks.inputs import Inputs

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


def verified(net: nn.Module, example: Inputs | None, lengthenings: int = 3) -> Verified:
    """The plan for a network, carried out.

    Where the smaller network is another function of longer sequences alone, the graph of a longer example is tried.

    Args:
        net, example: see :func:`~pyro_vd.compact`, also for errors.
        lengthenings: how often the example may be made longer.
    """
    check_module("net", net)
    example = None if example is None else check_inputs_of(net, example)
    whole = prepared(net)
    example = default_example(whole) if example is None else example
    if isinstance(example, Tensor) and example.ndim < 2:
        raise InputError(name="example", value=tuple(example.shape), allowed="of the shape of a batch, (n, …)")
    try:
        graph = Exported(whole, example)
        node = selectable_input(graph, example)
        analysis = analyse(graph, [] if node is None else [node])
    except NotExportedError as error:
        reason = f"{type(net).__name__} is left whole, as it cannot be followed: {error}"
        return Verified(ShrinkPlan((), None, (reason,)), whole, reason)
    analysis.mark_live()
    planning, more, suspects = Planning(analysis, node), [], set[fx.Node]()
    selection = None if node is None else selection_of(analysis, node)
    if node is not None and selection is None:
        more.append(analysis.values[node].labels.flatten())
    comparison: Comparison | None = None
    for _ in range(_ATTEMPTS):
        failures: list[Failure] = []
        for plan in planning.plans(more, selection):
            changes = bool(plan.tensors) or plan.inputs is not None
            if changes and comparison is None:
                comparison = Comparison(whole, example)
            failure = comparison.failure(plan) if changes and comparison is not None else None
            if failure is None:
                messages = messages_about(analysis, planning, plan, suspects)
                return Verified(replace(plan, messages=messages), applied(whole, plan))
            failures.append(failure)
        if lengthenings and all(each.when_longer for each in failures):
            return verified(net, longer(example), lengthenings - 1)
        failure = next((each for each in failures if each.raised_in is None), failures[0])
        if failure.raised_in is not None and failure.raised_in not in planning.checking:
            planning.checking.add(failure.raised_in)
            continue
        smaller = failure.graph(example)
        if smaller is not None and note_scales(analysis, planning.counting, smaller):
            continue
        found = suspects_of(analysis, smaller, failure.raised_in, suspects)
        if not found:
            break
        suspects |= found
        more += [value.labels[value.labels >= 0] for node in found for value in values_around(analysis, node)]
    reason = f"{type(net).__name__} is left whole, as its forward pass depends on the sizes of its layers"
    return Verified(ShrinkPlan((), None, (reason,)), whole, reason)
