"""Rules for embeddings: the columns of the table are units; its rows belong to the ids that are looked up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.findings import Table
from pyro_vd.compaction.labels import core, varying
from pyro_vd.compaction.values import Value, unknown, values_in


def _columns(analysis: Analysis, node: fx.Node, args: Any) -> Value | None:
    """The units of a table, ``(columns,)``, without constants; None where they cannot be followed."""
    weight, *given = args
    if weight.concrete is None or len(weight.shape) != 2 or any(value.has_units for value in values_in(given)):
        return None
    columns = analysis.labels.new(weight.shape[1])
    for place, index in weight.sources.items():
        if varying(index) == {1}:
            analysis.places.link(place, core(index).flatten(), columns)
    if len(names := {name for name, _ in weight.sources}) == 1:
        analysis.tables.append(Table(node, names.pop(), columns))
    for value in values_in(given):
        analysis.sinks.append(value.flow.sum())
    return Value(columns, analysis.root.expand(columns.shape))


def _embedding(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule for rows that are looked up: a column that is the same in all rows is constant."""
    if (units := _columns(analysis, node, args)) is None:
        return analysis.unknown(node, args, kwargs)
    shape, table = node.meta["val"].shape, args[0].concrete
    low, high = table.amin(0).cpu().double(), table.amax(0).cpu().double()
    return Value(units.labels.expand(shape), units.flow.expand(shape), low.where(low == high, torch.nan).expand(shape))


def _bag(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule for sums, means and maxima of rows: a column of zeros is constant; any other is not, as bags may be empty."""
    if (units := _columns(analysis, node, args)) is None:
        return analysis.unknown(node, args, kwargs)
    made, table = node.meta["val"], args[0].concrete
    numbers = torch.zeros((), dtype=torch.float64).where(~table.any(0).cpu(), torch.nan)
    shape = made[0].shape
    bags = Value(units.labels.expand(shape), units.flow.expand(shape), numbers.expand(shape))
    return [bags, *(unknown(part.shape) for part in made[1:])]


def _index_select(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule for a choice from a table of integers, such as the rows of ids; other choices are not followed."""
    table, _, index = args
    if table.has_units or index.has_units or table.concrete is None or table.concrete.is_floating_point():
        return analysis.unknown(node, args, kwargs)
    analysis.sinks.append(index.flow.sum())
    return unknown(node.meta["val"].shape)


def equal_rows(table: Tensor) -> Tensor:
    """By row ``(rows,)``, the index of the first row that is equal to it."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.rand(table.shape[1], generator=generator, dtype=torch.float64)
    table = table.detach().cpu()
    sums = (table.double() * factors).sum(1)  # equal for equal rows, and hardly ever for others
    _, classes = sums.unique(return_inverse=True)
    numbers = torch.arange(len(table))
    first = torch.full_like(numbers, len(table)).scatter_reduce(0, classes, numbers, "amin")[classes]
    return first.where((table == table[first]).all(1), numbers)


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    "embedding": _embedding,
    "embedding_bag": _bag,
    "index_select": _index_select,
}
"""By the name of an operation."""
