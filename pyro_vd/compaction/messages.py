"""What compaction tells the user: which operations keep units that could go but for them."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, fx

from pyro_vd._core.messages import some_of
from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import operation
from pyro_vd.compaction.plan import ShrinkPlan
from pyro_vd.compaction.planning import Planning
from pyro_vd.compaction.values import Value


def messages_about(analysis: Analysis, planning: Planning, plan: ShrinkPlan, suspects: Collection[fx.Node]) -> tuple[str, ...]:
    """The messages about a plan.

    Args:
        analysis: of the network.
        planning: that made the plan.
        plan: the plan.
        suspects: operations whose units stay because the smaller network was another function without them.
    """
    messages = []
    by_node = _kept_by_operations(analysis, suspects)
    if by_node:
        paths: dict[str, list[str]] = {}
        for node in by_node:
            paths.setdefault(operation(node).rstrip("_"), []).append(analysis.graph.path(node))
        listed = "; ".join(some_of(kind, names) for kind, names in paths.items())
        count = len(torch.cat([*by_node.values()]).unique())
        messages.append(f"{count} units that could be removed stay because of these operations: {listed}")
    if planning.reads_no_input():
        messages.append("no input reaches the output: the network is a constant predictor, as too much was pruned")
    return tuple(messages)


def _kept_by_operations(analysis: Analysis, suspects: Collection[fx.Node]) -> dict[fx.Node, Tensor]:
    """By operation, the units that stay because of it: those that are constant, or that nobody reads."""
    find = analysis.labels.find
    of_output = [find(held.labels) for held in analysis.held if held.node is None]
    fixed = torch.cat(of_output) if of_output else torch.zeros(0, dtype=torch.int64)
    places = sum(len(labels) for by_dim in analysis.places.labels.values() for labels in by_dim)
    units = find(torch.arange(places, analysis.labels.size)).unique()  # places come first, and stand for no unit by themselves
    found: dict[fx.Node, list[Tensor]] = {}
    for held in analysis.held:
        if held.node is not None:
            roots = find(held.labels)
            found.setdefault(held.node, []).append(roots[held.constant | ~analysis.live[roots]])
    for node in suspects:
        for source in node.all_input_nodes:
            value = analysis.values[source]
            if isinstance(value, Value):
                roots = find(value.labels[value.labels >= 0])
                known = value.constant[value.labels >= 0].isfinite()
                found.setdefault(node, []).append(roots[known | ~analysis.live[roots]])
    free = units[~torch.isin(units, fixed)]
    by_node = {node: torch.cat(parts).unique() for node, parts in found.items()}
    return {node: kept for node, roots in by_node.items() if len(kept := roots[torch.isin(roots, free)])}
