"""Units that are shuffled: where a network's own code takes them if its layers make other numbers of units.

A shuffle divides an axis of units into parts, swaps axes and joins them again, as ShuffleNet does with the halves of its
channels. Where a unit arrives depends on how many units there are. A stream is a set of layers whose units come together in one
tensor somewhere on the way, with all operations that move them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import operation
from pyro_vd.compaction.labels import core
from pyro_vd.compaction.values import Value, values_in

_VIEWS = ("view", "reshape", "_unsafe_view", "flatten", "unflatten")
_MOVES = (*_VIEWS, "transpose", "permute", "movedim", "swapaxes", "flip", "chunk", "cat", "concat")

Outputs = tuple[Tensor, ...]
"""What an operation gives: one tensor, or several parts."""


@dataclass(frozen=True)
class Step:
    """An operation of a stream.

    Attributes:
        node: the operation.
        made: whether it makes new units; else it moves them.
        labels: the root labels in its outputs, of size 1 along all axes without units.
        sources: which steps it reads, and which of their outputs.
    """

    node: fx.Node
    made: bool
    labels: Outputs
    sources: tuple[tuple[int, int], ...]

    def moved(self, before: Mapping[int, Outputs]) -> Outputs | None:
        """The outputs, given those of the steps before, which may have other sizes; None if the operation cannot take them."""
        given = [before[step][part] for step, part in self.sources]
        name, target = operation(self.node), self.node.target
        if name in _VIEWS:
            old: Any = self.node.args[0]
            shape = _resized(old.meta["val"].shape, self.node.meta["val"].shape, given[0].shape)
            return None if shape is None else (given[0].reshape(shape),)
        rest = self.node.args[1:]
        if name in ("cat", "concat"):
            return (torch.cat(given, *rest, **self.node.kwargs),)  # type: ignore[arg-type]
        found = target(given[0], *rest, **self.node.kwargs)  # type: ignore[operator]
        return (found,) if isinstance(found, Tensor) else tuple(found)


def _resized(old_in: Sequence[int], old_out: Sequence[int], new_in: Sequence[int]) -> list[int] | None:
    """The shape of a view of a tensor that has size 1 along axes without units; numbers of parts stay, their sizes change."""
    found: list[int] = []
    inputs, outputs = list(zip(old_in, new_in, strict=True)), list(old_out)
    while inputs or outputs:
        old, new = inputs.pop(0) if inputs else (1, 1)
        sizes = [outputs.pop(0)] if outputs else []
        while (whole := torch.Size(sizes).numel()) != old:
            if old < whole and inputs:
                one, other = inputs.pop(0)
                old, new = old * one, new * other
            elif old > whole and outputs:
                sizes.append(outputs.pop(0))
            else:
                return None
        parts = torch.Size(sizes[:-1]).numel()
        if len(sizes) == 1:
            found.append(new)
        elif sizes and new % parts == 0:
            found += [*sizes[:-1], new // parts]
        elif sizes:
            return None
    return found


def streams(analysis: Analysis) -> Iterator[list[Step]]:
    """The streams in which units are shuffled, as their steps in order; those with operations other than moves are left out."""
    find = analysis.labels.find
    views = (analysis.values[node] for node in analysis.graph.nodes if operation(node) in _VIEWS)
    tables = [table for value in views if value.has_units and _is_table(table := find(_without_positions(value)))]
    in_heads = [find(part.flatten()) for heads in analysis.heads for part in (heads.query, heads.value)]
    seen = torch.cat([torch.zeros(0, dtype=torch.int64), *in_heads])
    if all(bool(torch.isin(table, seen).any()) for table in tables):
        return
    vectors: dict[fx.Node, Outputs] = {}
    for node in analysis.graph.nodes:
        values = list(values_in([analysis.values[node]]))
        if values and all(value.has_units for value in values):
            vectors[node] = tuple(find(_without_positions(value)) for value in values)
    for table in tables:
        if bool(torch.isin(table, seen).any()):
            continue
        labels = table.flatten().unique()
        while True:  # all units that come together with these in a tensor
            together = [part.flatten() for found in vectors.values() for part in found if bool(torch.isin(part, labels).any())]
            if len(more := torch.cat(together).unique()) == len(labels):
                break
            labels = more
        seen = torch.cat([seen, labels])
        if (steps := _steps(analysis, vectors, labels)) is not None:
            yield steps


def _without_positions(value: Value) -> Tensor:
    """The labels, with size 1 along the axes along which they repeat."""
    small = core(value.labels)
    for dim in range(small.ndim):
        if small.shape[dim] > 1 and bool((small == small.narrow(dim, 0, 1)).all()):
            small = small.narrow(dim, 0, 1)
    return small


def _is_table(labels: Tensor) -> bool:
    return sum(size > 1 for size in labels.shape) == 2 and bool((labels >= 0).all())


def _steps(analysis: Analysis, vectors: Mapping[fx.Node, Outputs], labels: Tensor) -> list[Step] | None:
    """The steps that make and move units with these labels; None if there are others."""
    makers = {product.node for product in analysis.products}
    steps: list[Step] = []
    at: dict[fx.Node, tuple[int, int]] = {}
    made = torch.zeros(0, dtype=torch.int64)
    for node, parts in vectors.items():
        if not bool(torch.isin(parts[0], labels).any()):
            continue
        sources = tuple(at[source] for source in node.all_input_nodes if source in at)
        equal = [place for place in sources if torch.equal(steps[place[0]].labels[place[1]], parts[0])]
        if node.target is operator.getitem and sources:
            at[node] = (sources[0][0], int(node.args[1]))  # type: ignore[arg-type]
            continue
        if len(parts) == 1 and equal and operation(node) not in _MOVES:
            at[node] = equal[0]
            continue
        if operation(node) in _MOVES and len(sources) == len(node.all_input_nodes):
            steps.append(Step(node, False, parts, sources))
        elif node in makers and not bool(torch.isin(parts[0], made).any()) and len(parts[0].unique()) == parts[0].numel():
            steps.append(Step(node, True, parts, ()))
            made = torch.cat([made, parts[0].flatten()])
        else:
            return None
        at[node] = (len(steps) - 1, 0)
    return steps
