"""Which units stay so that every tensor stays a rectangle: a few more than are needed, never fewer."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import operation
from pyro_vd.compaction.labels import core, varying
from pyro_vd.compaction.rules_recurrent import RULES as RECURRENT
from pyro_vd.compaction.shuffles import Shuffle
from pyro_vd.compaction.values import Value


class Counting:
    """The numbers of units that must agree.

    Args:
        analysis: of the network.
        more: labels of further units that stay.
        shuffles: of the network.
    """

    def __init__(self, analysis: Analysis, more: list[Tensor], shuffles: Sequence[Shuffle] = ()) -> None:
        self._shuffles = shuffles
        self._find = analysis.labels.find
        self.kept: Tensor = torch.cat([analysis.live, torch.ones(1, dtype=torch.bool)])
        """By root label, whether the units stay; the last is for the label −1, of what is no unit."""
        for labels in (*(held.labels for held in analysis.held), *more):
            self.kept[self._find(labels[labels >= 0])] = True
        places = [self._find(analysis.places.labels[name][dim]) for name, dim in sorted(analysis.places.linked)]
        ranges = [tuple(self._find(part[part >= 0]) for part in pair) for pair in analysis.ranges]
        wider = [tuple(map(self._find, pair)) for pair in analysis.wider]
        tables = list(_tables(analysis))
        by_head = [(self._find(heads), self._find(units)) for heads, units in _units_by_head(analysis)]
        in_heads = torch.cat([units.flatten() for _, units in by_head]) if by_head else None
        alike = [
            (self._find(found.scores), torch.stack([self._find(found.query), self._find(found.value)]))
            for found in analysis.heads
            if found.replaced is None and found.query.shape == found.value.shape
        ]
        of_convolutions = [(self._find(found.inputs), self._find(found.outputs)) for found in analysis.parts]
        parts = [torch.stack([self._find(part) for part in several]) for several in analysis.equal_parts]
        if in_heads is not None:  # their numbers are counted by head
            parts = [several for several in parts if not bool(torch.isin(several, in_heads).any())]
        for shuffle in shuffles:  # these count by themselves
            tables = [table for table in tables if not bool(torch.isin(table, shuffle.labels).any())]
            parts = [several for several in parts if not bool(torch.isin(several, shuffle.labels).any())]
        while True:
            before = int(self.kept.sum())
            for labels in places:
                self._keep_one(labels)
            for several in parts:
                self._same_number(several, all_of_them=True)
            for wide, narrow in wider:
                self._keep(wide, int(self.kept[narrow].sum()) + 1)
            for inside, behind in ranges:
                if bool(self.kept[behind].any()):
                    self.kept[inside] = True
            for read, made in of_convolutions:
                self._keep_parts(read, made)
            for heads, units in by_head:
                self._keep_heads(heads, units)
            for heads, both in alike:  # their network has one number for the width of query and value
                self._same_number(both[:, self.kept[heads]].flatten(0, 1))
            for table in tables:
                if in_heads is not None and bool(torch.isin(table, in_heads).any()):
                    self._same_number(table)
                else:
                    self._keep_rectangle(table)
            if int(self.kept.sum()) == before:
                break
        for shuffle in shuffles:
            shuffle.arrange(self.kept)

    def mask(self, labels: Tensor) -> Tensor:
        """Which of these labels stay; a negative label does."""
        return self.kept[self._find(labels)]

    def indices(self, labels: Tensor) -> tuple[int, ...]:
        """Which of these labels stay, as indices in their new order."""
        roots = self._find(labels)
        for shuffle in self._shuffles:
            if (order := shuffle.orders.get(tuple(roots.tolist()))) is not None:
                found = roots.argsort()[torch.searchsorted(roots.sort().values, order)]
                return tuple(found.tolist())
        return tuple(self.mask(labels).nonzero().flatten().tolist())

    def _keep_one(self, labels: Tensor) -> None:
        if not bool(self.kept[labels].any()):
            self.kept[labels[0]] = True

    def _keep(self, labels: Tensor, count: int) -> None:
        """Keep at least so many."""
        stays = self.kept[labels]
        self.kept[labels[~stays][: max(0, count - int(stays.sum()))]] = True

    def _same_number(self, rows: Tensor, all_of_them: bool = False) -> None:
        """Keep the same number in every row of labels that has any, or in ``all_of_them``."""
        counts = self.kept[rows].sum(1)
        most = int(counts.max())
        for row, count in zip(rows, counts.tolist(), strict=True):
            if (count or all_of_them) and count < most:
                missing = row[~self.kept[row]]
                self.kept[missing[: most - count]] = True

    def _keep_heads(self, heads: Tensor, units: Tensor) -> None:
        """Keep something of every head that stays, and the same number of units as of the others; one head stays."""
        stays = self.kept[heads] | self.kept[units].any(1)
        if not bool(stays.any()):
            stays[0] = True
        self.kept[heads[stays]] = True
        for row in units[stays]:
            self._keep_one(row)
        self._same_number(units[stays])

    def _keep_parts(self, first: Tensor, second: Tensor) -> None:
        """Keep, of every row of which anything stays, something of each kind, and as much as of others."""
        stays = self.kept[first].any(1) | self.kept[second].any(1)
        if not bool(stays.any()):
            stays[0] = True
        for rows in (first[stays], second[stays]):
            for row in rows:
                self._keep_one(row)
            self._same_number(rows)

    def _keep_rectangle(self, table: Tensor) -> None:
        """Keep the rows and the columns of which anything stays, and something in every row."""
        mask = self.kept[table]
        columns = mask.any(0)
        if not bool(columns.any()):
            columns[0] = True
        self.kept[table[:, columns]] = True


def _of_several_cells(node: fx.Node) -> bool:
    """Whether a node is the last states of recurrent layers, in which units at the same index need not go together."""
    return node.target is operator.getitem and operation(cast(fx.Node, node.args[0])) in RECURRENT


def _units_by_head(analysis: Analysis) -> Iterator[tuple[Tensor, Tensor]]:
    """The units of the scores of attentions, ``(heads,)``, and those ``(heads, width)`` that come and go with them."""
    for scores in analysis.scores:
        yield scores.heads, scores.query
    for heads in analysis.heads:
        yield heads.scores, heads.value


def _tables(analysis: Analysis) -> Iterator[Tensor]:
    """The tensors with units along several axes, as tables of root labels: along the last of these axes, and the others."""
    seen: set[tuple[tuple[int, ...], int]] = set()
    replaced = {heads.replaced for heads in analysis.heads if heads.replaced is not None}
    for node, value in analysis.values.items():
        if not isinstance(value, Value) or len(value.shape) < 2 or not node.users or _of_several_cells(node):
            continue
        if node in analysis.graph.inputs or analysis.graph.path(node) in replaced:
            continue
        small = core(value.labels)
        if sum(size > 1 for size in small.shape) < 2 or len(varying(small)) < 2:
            continue
        roots = analysis.labels.find(small)
        axes = sorted(varying(roots))
        if len(axes) < 2:
            continue
        for dim in range(roots.ndim):
            if dim not in axes:
                roots = roots.narrow(dim, 0, 1)
        table = roots.movedim(axes[-1], -1).reshape(-1, roots.shape[axes[-1]])
        table = table[(table >= 0).all(1)]
        key = (tuple(table.shape), hash(table.numpy().tobytes()))
        if len(table) and key not in seen:
            seen.add(key)
            yield table
