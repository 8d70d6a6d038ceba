"""The operations that may be why a smaller network is another function: those that depend on sizes."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import Exported, literals, operation
from pyro_vd.compaction.front import paired
from pyro_vd.compaction.labels import varying
from pyro_vd.compaction.rules_movement import RULES as MOVEMENT
from pyro_vd.compaction.values import values_in


def suspects_of(
    analysis: Analysis, smaller: Exported | None, failed_in: type[nn.Module] | None, before: set[fx.Node]
) -> set[fx.Node]:
    """The operations that may be why a smaller network is another function.

    Args:
        analysis: of the whole network.
        smaller: the graph of the smaller network, which shows where it differs; None where it has none.
        failed_in: the class of the module that raised an error in the smaller network.
        before: operations that were suspected already.

    Returns:
        The operations, together with the same ones of other modules of the same class; all that depend on sizes where it cannot
        be told which they are.
    """
    sized = {node for node in analysis.graph.nodes if _has_sizes(node) and _reads_units(analysis, node)}
    found = set[fx.Node]()
    if smaller is not None:
        first = _first_that_differs(analysis, smaller, sized)
        found = set() if first is None else _alike(analysis, first)
    elif failed_in is not None:
        found = {node for node in sized if _kind_of(analysis, node) is failed_in}
    return found - before or sized - before


def values_around(analysis: Analysis, node: fx.Node) -> list[Any]:
    """The values of the inputs of a node, and of its output."""
    return list(values_in([analysis.values[source] for source in (*node.all_input_nodes, node)]))


def _first_that_differs(analysis: Analysis, smaller: Exported, sized: set[fx.Node]) -> fx.Node | None:
    """The first operation that is another one in the smaller network, or is given other numbers that are no sizes."""
    for node, its in paired(analysis.graph, smaller):
        if node is None or its is None or node.target != its.target:
            return node
        if node not in sized and literals(node) != literals(its) and _reads_units(analysis, node):
            return node
    return None


def _alike(analysis: Analysis, node: fx.Node) -> set[fx.Node]:
    """The same operations in all modules of the same class."""
    kind = _kind_of(analysis, node)
    return {other for other in analysis.graph.nodes if other.target == node.target and _kind_of(analysis, other) is kind}


def _kind_of(analysis: Analysis, node: fx.Node) -> type[nn.Module]:
    return type(analysis.graph.net.get_submodule(analysis.graph.path(node)))


def _reads_units(analysis: Analysis, node: fx.Node) -> bool:
    return any(varying(value.labels) for value in values_around(analysis, node))


def _has_sizes(node: fx.Node) -> bool:
    return operation(node) in MOVEMENT and bool(literals(node))
