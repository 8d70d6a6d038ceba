"""Rules for attention, in one operation or written by hand.

A product of query and key sums over their units, and gives scores, which have one unit per head. A product of what the scores
become with the value sums over positions, and has the units of the value (:mod:`.contractions`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from pyro_vd.compaction import rules_layers
from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.contractions import mixture, scores_of
from pyro_vd.compaction.einsum import Factors, factors
from pyro_vd.compaction.labels import core
from pyro_vd.compaction.scaling import multihead, scale_of
from pyro_vd.compaction.softmax import is_softmax, softmax_after
from pyro_vd.compaction.values import Value


def _fused(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule for attention in one operation: both products in turn."""
    query, key, value = args[:3]
    mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    if kwargs.get("enable_gqa", False):
        key, value = (_repeated(part, query.shape[-3]) for part in (key, value))
    scores = scores_of(analysis, node, query, key.moved(lambda tensor: tensor.mT), -1)
    if scores is not None and isinstance(mask, Value):
        scores = _masked(analysis, node, scores, mask)
    before = len(analysis.heads)
    made = None if scores is None else mixture(analysis, node, analysis.watched(scores), value, not isinstance(mask, Value))
    if made is None:
        return analysis.unknown(node, args, kwargs)
    if kwargs.get("scale") is None and multihead(analysis, node) is None:
        scale = scale_of(analysis, node, 0.5)
        if scale is None:  # nothing can make up for another width
            analysis.hold(node, query.labels, query.constant)
        analysis.heads[before:] = [replace(heads, scale=scale) for heads in analysis.heads[before:]]
    return made


def _repeated(value: Value, heads: int) -> Value:
    """A key or value with an entry for each head of the query, of which several have the same one."""
    return value.moved(lambda tensor: tensor.repeat_interleave(heads // tensor.shape[-3], -3))


def _masked(analysis: Analysis, node: fx.Node, scores: Value, mask: Value) -> Value:
    """Scores plus a mask, which the attention that replaces one of PyTorch makes for as many heads as it has."""
    if multihead(analysis, node) is None:
        return rules_layers.elementwise_sum(analysis, node, scores, mask)
    return Value(scores.labels, scores.flow + mask.flow.sum())


def _matmul(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    first, second = args
    both = all(len(part.shape) > 1 and (part.concrete is None or part.has_units) for part in (first, second))
    made = _product(analysis, node, node.args[0], Factors(first, second)) if both else None
    return rules_layers.RULES["matmul"](analysis, node, args, kwargs) if made is None else made


def _baddbmm(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    mask, first, second = args
    made = _product(analysis, node, node.args[1], Factors(first, second))
    return analysis.unknown(node, args, kwargs) if made is None else _masked(analysis, node, made, mask)


def _einsum(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    equation, values = args[:2]
    found = factors(equation, *values) if len(values) == 2 else None
    nodes: Any = node.args[1]
    made = None if found is None else _product(analysis, node, nodes[0], found)
    return analysis.unknown(node, args, kwargs) if made is None else made


def _product(analysis: Analysis, node: fx.Node, weights: Any, given: Factors) -> Value | None:
    """A product of two tensors, the first of which is that of the node ``weights``; None where it is of no known kind."""
    first, second = given.aligned()
    if first.has_units and second.has_units and not _of_heads(analysis, first):
        made = scores_of(analysis, node, first, second, given.axis_in_product(softmax_after(analysis, node)))
    else:
        made = mixture(analysis, node, first, second, is_softmax(weights, given.summed))
    return None if made is None else made.moved(given.restored)


def _of_heads(analysis: Analysis, value: Value) -> bool:
    """Whether all units of a value are heads of scores."""
    labels = core(value.labels)
    heads = [found.heads for found in analysis.scores]
    if not heads or bool((labels < 0).any()):
        return False
    return bool(torch.isin(analysis.labels.find(labels), analysis.labels.find(torch.cat(heads))).all())


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    "scaled_dot_product_attention": _fused,
    **dict.fromkeys(("matmul", "bmm", "mm"), _matmul),
    "baddbmm": _baddbmm,
    "einsum": _einsum,
}
"""By the name of an operation."""
