"""Products of two tensors that both depend on the inputs: scores of queries and keys, and mixtures of values."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.findings import Heads, Scores
from pyro_vd.compaction.labels import core, varying
from pyro_vd.compaction.scaling import multihead
from pyro_vd.compaction.values import Value

_NO_MARK: Tensor = torch.zeros(())


def scores_of(analysis: Analysis, node: fx.Node, query: Value, key: Value, softmax: int | None) -> Value | None:
    """The scores ``(…, queries, keys)`` of a query ``(…, queries, width)`` and a key ``(…, width, keys)``.

    The units of both are united. A unit that is 0 in one of them does not matter, nor one that is the same for all positions
    over which a softmax comes next, which cancels it. The scores have a unit of their own for each head.

    Args:
        analysis: of the network.
        node: the operation.
        query, key: the factors.
        softmax: −1 for a softmax over keys, −2 for one over queries; None for neither.

    Returns:
        The product; None where its factors do not have these units.
    """
    one, other = _at_any_position(analysis, query, -1), _at_any_position(analysis, key, -2)
    if one is None or other is None:
        return None
    (q, q_numbers), (k, k_numbers) = one, other
    analysis.labels.unite(q, k)
    rows = analysis.labels.find(torch.broadcast_tensors(q, k)[0])
    by_head, index = rows.reshape(-1, rows.shape[-1]).unique(dim=0, return_inverse=True)
    heads = analysis.labels.new(len(by_head))
    analysis.scores.append(Scores(node, heads, by_head))
    idle = (q_numbers == 0) | (k_numbers == 0)
    if softmax is not None:
        idle = idle | (k_numbers if softmax == -1 else q_numbers).isfinite()
    queries = query.flow.where(~idle.unsqueeze(-2), _NO_MARK).sum(-1, keepdim=True)
    keys = key.flow.where(~idle.unsqueeze(-1), _NO_MARK).sum(-2, keepdim=True)
    shape = _shape(query, key)
    labels = heads[index].reshape(*rows.shape[:-1], 1, 1)
    return Value(labels.expand(shape), (queries + keys).expand(shape))


def mixture(analysis: Analysis, node: fx.Node, weights: Value, value: Value, sum_to_one: bool) -> Value | None:
    """What weights ``(…, queries, keys)`` without units along these axes make of a value ``(…, keys, width)``.

    Args:
        analysis: of the network.
        node: the operation.
        weights: scores after a softmax, or numbers that belong to no unit.
        value: what is summed.
        sum_to_one: whether the weights of each query do, so that a constant stays one.

    Returns:
        The product; None where its factors do not have these units.
    """
    found = _at_any_position(analysis, value, -1)
    roots = analysis.labels.find(core(weights.labels))
    rank = roots.ndim
    if found is None or varying(roots) & {rank - 2, rank - 1} or (weights.sources and not weights.has_units):
        return None
    units, numbers = found
    if weights.has_units:
        _note_heads(analysis, node, roots[..., 0, 0], units)
    shape = _shape(weights, value)
    nothing = (numbers == 0).unsqueeze(-2)
    flow = weights.flow.sum(-1, keepdim=True).where(~nothing, _NO_MARK) + value.flow.sum(-2, keepdim=True)
    stays = numbers.where((numbers == 0) | sum_to_one, torch.nan).unsqueeze(-2)
    return Value(units.unsqueeze(-2).expand(shape), flow.expand(shape), stays.expand(shape))


def _note_heads(analysis: Analysis, node: fx.Node, heads: Tensor, units: Tensor) -> None:
    """Note which units of the value belong to which heads of the scores, and so to which units of query and key."""
    heads, units = torch.broadcast_tensors(heads.unsqueeze(-1), units)
    table = torch.cat([heads[..., :1], units], -1)
    table = table.reshape(-1, table.shape[-1]).unique(dim=0)
    heads, units = table[:, 0], table[:, 1:]
    for scores in analysis.scores:
        own = analysis.labels.find(scores.heads)
        same = own == heads[:, None]
        if bool(same.any(1).all()):
            query = analysis.labels.find(scores.query)[same.int().argmax(1)]
            analysis.heads.append(Heads(scores.node, heads, query, units, multihead(analysis, node)))


def _at_any_position(analysis: Analysis, value: Value, axis: int) -> tuple[Tensor, Tensor] | None:
    """Labels and constants ``(…, units)`` of the units along an axis, −1 or −2, which are the same along the other one.

    None where they are not, or where an entry belongs to no unit.
    """
    positions = -3 - axis
    labels = analysis.labels.find(core(value.labels))
    if labels.ndim + positions in varying(labels) or not bool((labels >= 0).all()):
        return None
    numbers = core(value.constant)
    least = numbers.amin(positions)
    return labels.select(positions, 0), least.where(least == numbers.amax(positions), torch.nan)


def _shape(first: Value, second: Value) -> tuple[int, ...]:
    batch = torch.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    return (*batch, first.shape[-2], second.shape[-1])
