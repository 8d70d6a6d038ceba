"""The rule for attention, which mixes positions, by weights that are made of units."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from pyro_vd.compaction.analysis import Analysis, Heads, Product
from pyro_vd.compaction.exported import operation
from pyro_vd.compaction.labels import core
from pyro_vd.compaction.rules_movement import RULES as MOVEMENT
from pyro_vd.compaction.values import Value


def _attention(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule for attention over positions, with the heads in dimension −3 and their units in the last one.

    A unit of query and key that is 0 in one of them, or constant in the key, does not matter: softmax over the positions
    cancels what is the same for all of them.
    """
    query, key, value = args[:3]
    mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    shape = node.meta["val"].shape
    grouped = query.shape[1] != key.shape[1]
    masked_by_units = isinstance(mask, Value) and mask.has_units
    if len(shape) != 4 or grouped or masked_by_units or not all(part.has_units for part in (query, key, value)):
        return analysis.unknown(node, args, kwargs)
    (q, q_numbers), (k, k_numbers), (v, v_numbers) = (_by_head(analysis, node, part) for part in (query, key, value))
    analysis.labels.unite(q, k)
    replaced = _multihead(analysis, node)
    scaled = None
    if replaced is None and kwargs.get("scale") is None:
        scaled = _layer_before(analysis, node.args[0])
        if scaled is None:  # nothing can make up for another width
            analysis.hold(node, q, q_numbers)
    analysis.heads.append(Heads(q, v, replaced, scaled))
    matters = ~((q_numbers == 0) | k_numbers.isfinite())
    marks = value.flow.sum([0, 2], keepdim=True)
    scores = sum(part.flow.sum([0, 2]).where(matters, torch.zeros(())).sum(1) for part in (query, key))
    flow = (marks + scores.reshape(1, -1, 1, 1)).expand(shape)
    if isinstance(mask, Value):
        v_numbers = v_numbers.where(v_numbers == 0, torch.nan)
        flow = flow + mask.flow.sum()
    return Value(v[None, :, None].expand(shape), flow, v_numbers[None, :, None].expand(shape))


def _multihead(analysis: Analysis, node: fx.Node) -> str | None:
    """The path of the ``nn.MultiheadAttention`` that runs a node."""
    path = analysis.graph.path(node)
    return path if type(analysis.graph.net.get_submodule(path)) is nn.MultiheadAttention else None


def _layer_before(analysis: Analysis, node: Any) -> Product | None:
    """The layer of which an output was only moved, if its weight is used there alone."""
    while isinstance(node, fx.Node) and (operation(node) in MOVEMENT or node.target is operator.getitem):
        node = node.args[0]
    found = next((product for product in analysis.products if product.node is node), None)
    once = found is not None and all(analysis.graph.uses(name) == 1 for name, _ in found.out_of)
    return found if once else None


def _by_head(analysis: Analysis, node: fx.Node, value: Value) -> tuple[Tensor, Tensor]:
    """Labels and constants ``(heads, width)`` of the units of a query, key or value ``(batch, heads, positions, width)``."""
    labels = core(value.labels)
    labels = labels.movedim(2, 1).reshape(-1, labels.shape[1], labels.shape[3])
    constant = value.constant
    least = constant.amin([0, 2])
    numbers = least.where(least == constant.amax([0, 2]), torch.nan)
    if len(labels) > 1:
        analysis.labels.unite(labels, labels[:1])
    return labels[0].expand(numbers.shape), numbers


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    "scaled_dot_product_attention": _attention,
}
"""By the name of an operation."""
