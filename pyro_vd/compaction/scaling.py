"""Layers that make up for the scale of an attention, where it depends on a width that becomes smaller."""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.counting import Counting
from pyro_vd.compaction.exported import Exported, operation
from pyro_vd.compaction.findings import Product, Scale
from pyro_vd.compaction.front import paired
from pyro_vd.compaction.labels import core
from pyro_vd.compaction.rules_movement import RULES as MOVEMENT
from pyro_vd.compaction.values import Value
from pyro_vd.networks.attention import Attention

_DIVISIONS = ("div", "true_divide")


def multihead(analysis: Analysis, node: fx.Node) -> str | None:
    """The path of the ``nn.MultiheadAttention``, or of what took its place, that runs a node; None for another module."""
    path = analysis.graph.path(node)
    return path if type(analysis.graph.net.get_submodule(path)) in (nn.MultiheadAttention, Attention) else None


def factor_nodes(node: fx.Node) -> tuple[Any, Any]:
    """The nodes of query and key, given that of their product."""
    name, args = operation(node), node.args
    first, second, *_ = args[1] if name == "einsum" else args[1:] if name == "baddbmm" else args  # type: ignore[misc]
    return first, second


def scale_of(analysis: Analysis, node: fx.Node, power: float) -> Scale | None:
    """The layer that makes the queries or the keys of the scores of a node alone, to which they are proportional."""
    nodes = factor_nodes(node)
    for own, other in (nodes, nodes[::-1]):
        layers = _proportional_to(analysis, own)
        if layers is None or len(layers) != 1:
            continue
        (layer,) = layers.values()
        made = torch.isin(layer.outputs, core(analysis.values[own].labels))
        shared = bool(torch.isin(layer.outputs[made], core(analysis.values[other].labels)).any())
        if not shared and all(analysis.graph.uses(name) == 1 for name, _ in layer.out_of):
            return Scale(layer, made, power)
    return None


def _proportional_to(analysis: Analysis, node: Any) -> dict[fx.Node, Product] | None:
    """By node, the layers to whose outputs a tensor is proportional; None where it is not proportional to such alone."""
    if not isinstance(node, fx.Node):
        return None
    for product in analysis.products:
        if product.node is node:
            return {node: product}
    name = operation(node).rstrip("_")
    before: list[Any] = [part for part in node.all_input_nodes if not _is_known(analysis, part)]
    if name in ("mul", *_DIVISIONS):
        fits = len(before) == 1 and before[0] is (node.args[0] if name in _DIVISIONS else before[0])
    elif name in ("add", "sub"):
        fits = len(before) == 2
    else:
        fits = bool(before) and (name in MOVEMENT or name == "neg" or node.target is operator.getitem)
    found: dict[fx.Node, Product] = {}
    for part in before if fits else ():
        layers = _proportional_to(analysis, part)
        if layers is None:
            return None
        found |= layers
    return found or None


def _is_known(analysis: Analysis, node: fx.Node) -> bool:
    """Whether a tensor depends on no layer: one without units, as the sine of positions is."""
    value = analysis.values[node]
    return isinstance(value, Value) and not value.has_units


def note_scales(analysis: Analysis, counting: Counting, smaller: Exported) -> bool:
    """Find the scales that a forward pass makes of the width of its heads, by what they are in the smaller network.

    The layers that can make up for them are noted in the heads of the analysis.

    Returns:
        Whether any new scale was found.
    """
    pairs = paired(analysis.graph, smaller)
    changed = {one: _change(one, other) for one, other in pairs if one is not None and other is not None}
    found = False
    for place, heads in enumerate(analysis.heads):
        before, after = heads.query.shape[1], int(counting.mask(heads.query).sum(1).max())
        factor = math.prod(changed.get(node, 1.0) for node in _around(heads.node))
        if heads.scale is None and before != after and factor > 0 and factor != 1:
            scale = scale_of(analysis, heads.node, math.log(factor) / math.log(before / after))
            if scale is not None:
                analysis.heads[place] = replace(heads, scale=scale)
                found = True
    return found


def _change(one: fx.Node, other: fx.Node) -> float:
    """By how much an operation of the smaller network multiplies its input more than that of the whole one does."""
    name = operation(one).rstrip("_")
    if one.target != other.target or name not in ("mul", *_DIVISIONS):
        return 1.0
    before, after = ([part for part in node.args if isinstance(part, float)] for node in (one, other))
    if len(before) != 1 or len(after) != 1 or not before[0] or not after[0]:
        return 1.0
    return before[0] / after[0] if name in _DIVISIONS else after[0] / before[0]


def _around(scores: fx.Node) -> set[fx.Node]:
    """The operations between the layers of query and key and their scores, and those between the scores and a softmax."""
    found = {scores}
    pending: list[Any] = [*factor_nodes(scores)]
    while pending:
        node = pending.pop()
        name = operation(node).rstrip("_")
        if node not in found and (
            name in ("mul", "add", "sub", "neg", *_DIVISIONS, *MOVEMENT) or node.target is operator.getitem
        ):
            found.add(node)
            pending += [part for part in node.all_input_nodes if part.op == "call_function"]
    node = scores
    while len(node.users) == 1 and "softmax" not in operation(node):
        (node,) = node.users
        found.add(node)
    return found
