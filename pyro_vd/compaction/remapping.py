"""Which rows of embeddings go: those that are equal to others, as all words that are removed are zero."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx, nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.counting import Counting
from pyro_vd.compaction.exported import Exported, NotExportedError, literals, operation
from pyro_vd.compaction.findings import Table
from pyro_vd.compaction.module_plans import EmbeddingPlan
from pyro_vd.compaction.rules_embedding import equal_rows
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.remapped import RemappedEmbedding, can_share_rows, index_type

_ENTRY = 100
"""About as many bytes as one more tensor takes in a file, beside its numbers."""


def embedding_plans(analysis: Analysis, counting: Counting) -> Iterator[tuple[EmbeddingPlan, str, tuple[int, ...]]]:
    """The embeddings of which rows go, each with the name of its weight and the indices of the rows that are kept.

    Ids of equal rows share one; only columns that stay and are read count. Rows go only where this saves more bytes than the
    rows of the ids take, and where the weight has no other use: rows of a tied layer of outputs are outputs.
    """
    tables: dict[str, list[Table]] = {}
    for table in analysis.tables:
        tables.setdefault(table.name, []).append(table)
    for name, uses in tables.items():
        module = _owner(analysis, name, uses)
        if module is None:
            continue
        columns = uses[0].columns
        kept = counting.mask(columns)
        weight: Any = analysis.graph.tensor(name)
        first = equal_rows(weight[:, (kept & analysis.live[analysis.labels.find(columns)]).to(weight.device)])
        if (padding := _alone(module)) is not None:
            first = _with_a_row_of_its_own(first, padding)
        rows, classes = first.unique(return_inverse=True)
        is_new = not isinstance(module, RemappedEmbedding)
        cost = len(first) * index_type(len(rows)).itemsize + _ENTRY if is_new else 0
        saves = (len(first) - len(rows)) * int(kept.sum()) * weight.itemsize > cost
        if saves and not any(_counts_rows(analysis, table) for table in uses):
            yield EmbeddingPlan(analysis.graph.path(uses[0].node), tuple(classes.tolist())), name, tuple(rows.tolist())


def _owner(analysis: Analysis, name: str, uses: list[Table]) -> Any:
    """The module of an embedding whose weight is used by it alone; None where there is none."""
    graph = analysis.graph
    weight = operator.attrgetter(name)(graph.net)
    owners = [module for module in graph.net.modules() if any(weight is own for own in module._parameters.values())]
    paths = {graph.path(table.node) for table in uses}
    modules = [graph.net.get_submodule(path) for path in paths]
    if "" in paths or len(owners) != 1 or graph.uses(name) != len(uses) or (name, 0) in analysis.places.linked:
        return None
    return owners[0] if can_share_rows(owners[0]) and all(module is owners[0] for module in modules) else None


def _counts_rows(analysis: Analysis, table: Table) -> bool:
    """Whether ids are made of the inputs with the number of rows of the weight, as in ``ids % len(weight)``."""
    graph = analysis.graph
    pending, made = [source for source in table.node.all_input_nodes if source not in graph.names], set[fx.Node]()
    while pending:
        node = pending.pop()
        if node.op == "call_function" and node not in made and analysis.values[node].concrete is None:
            made.add(node)
            pending += node.all_input_nodes
    if not any(literals(node) for node in made):
        return False
    path, net = graph.path(table.node), copy_network(graph.net)
    EmbeddingPlan(path, (0,) * len(analysis.places.labels[table.name][0])).carry_out(net)
    module: Any = net.get_submodule(path)
    module.weight = nn.Parameter(module.weight[:1])
    try:
        other = Exported(net, graph.example)
    except (NotExportedError, InputError):
        return True
    return _numbers_outside(graph, path) != _numbers_outside(other, path)


def _numbers_outside(graph: Exported, path: str) -> list[tuple[str, str]]:
    """The operations outside of a module, with the numbers that they are given."""
    return [(operation(node), str(literals(node))) for node in graph.nodes if graph.path(node) != path]


def _alone(module: Any) -> int | None:
    """The row that no other id may share: that of the id which bags leave out."""
    if not hasattr(module, "include_last_offset"):
        return None
    row: int | None = module.padding_row if isinstance(module, RemappedEmbedding) else module.padding_idx
    return row


def _with_a_row_of_its_own(first: Tensor, row: int) -> Tensor:
    """By row the first one that is equal to it, where one row is taken for different from all others."""
    others = (first == row).nonzero().flatten()
    others = others[others != row]
    first = first.clone()
    first[others] = others[:1].expand(len(others))
    first[row] = row
    return first
