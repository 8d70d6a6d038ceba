"""Rules for layers: what multiplies units by a weight that does not depend on the inputs, and sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.findings import Parts, Product
from pyro_vd.compaction.labels import Sources, along, core, varying
from pyro_vd.compaction.products import Reads, bias_to_change
from pyro_vd.compaction.rules_elementwise import joined_labels
from pyro_vd.compaction.values import Value


def product(
    analysis: Analysis,
    node: fx.Node,
    value: Value,
    weight: Value,
    bias: Value | None,
    axis: int,
    *,
    uniform: bool = True,
    groups: int = 1,
    into: Sources | None = None,
    out_of: Sources | None = None,
) -> Value:
    """The output of a layer.

    Args:
        analysis: of the network.
        node: the operation.
        value: the input, with its units along ``axis``, where the output has its own too.
        weight: ``(outputs, inputs of a group, kernel…)``.
        bias: ``(outputs,)``.
        axis: the axis of the units.
        uniform: whether a constant input adds the same number at every position.
        groups: into how many groups the units are divided, which do not read each other.
        into, out_of: the places of a weight with groups that inputs and outputs stand for, where they are known.
    """
    shape = node.meta["val"].shape
    inputs, numbers = analysis.units_along(value, axis, node)
    matrix = weight.concrete.detach().cpu()  # type: ignore[union-attr]
    matrix = matrix.reshape(*matrix.shape[:2], -1)
    outputs = analysis.labels.new(len(matrix))
    found = Product(node, inputs, outputs, into or {}, out_of or {})
    own = bias is not None and (bias.concrete is None or bias.shape != outputs.shape)
    joined = None if own else bias
    _link(analysis, node, found, weight, joined, numbers, groups)
    found.bias = bias_to_change(analysis.graph, node, weight, joined)
    reads = Reads(matrix, groups)
    constant = numbers.isfinite() & (inputs >= 0)
    can_fold = uniform and found.bias is not None and (groups == 1 or bool(found.into))
    found.folded = constant if can_fold else constant & (numbers == 0)
    found.added = reads.total(numbers.where(found.folded, 0))
    reads.leave_out(found.folded)
    shift = torch.zeros((), dtype=torch.float64) if joined is None else joined.constant
    made = (shift + found.added).where(~reads.any_input(), torch.nan)
    found.needed = torch.zeros(len(outputs), dtype=torch.bool)
    analysis.products.append(found)
    marks = reads.marks(value.flow_along(axis), analysis.root, found.needed)
    labels, flow, made = (along(part, axis % len(shape), shape) for part in (outputs, marks, made))
    result = Value(labels, flow, made)
    if own and bias is not None:
        return elementwise_sum(analysis, node, result, bias)
    return result


def elementwise_sum(analysis: Analysis, node: fx.Node, value: Value, other: Value) -> Value:
    """The sum of two values."""
    labels = joined_labels(analysis, node, [value, other], value.shape)
    return Value(labels, value.flow + other.flow, (value.constant + other.constant).expand(value.shape))


def _link(
    analysis: Analysis, node: fx.Node, found: Product, weight: Value, bias: Value | None, numbers: Tensor, groups: int
) -> None:
    """Unite the units that a layer reads and makes with the places of its weight and bias."""
    made, read = len(found.outputs), len(found.inputs)
    covered = {0: made == 1 or bool(found.out_of), 1: read == 1 or groups > 1}
    for places, labels in ((found.into, found.inputs), (found.out_of, found.outputs)):
        for place, index in places.items():
            analysis.hold(None, analysis.places.link(place, index, labels))
    for place, index in weight.sources.items() if not found.into else ():
        axes = varying(index) & {0, 1}
        if axes == {0}:
            found.out_of[place] = core(index).flatten()
            analysis.hold(None, analysis.places.link(place, core(index).flatten(), found.outputs))
            covered[0] = True
        elif axes == {1} and groups == 1:
            found.into[place] = core(index).flatten()
            analysis.hold(None, analysis.places.link(place, core(index).flatten(), found.inputs))
            covered[1] = True
        elif axes == {0, 1} and groups == 1:
            analysis.hold(None, analysis.places.labels_at(place, core(index)))
    for place, index in weight.sources.items():  # dimensions of size 1, of which the axis cannot be told from the indices
        if not varying(index) and place[1] < 2 and len(analysis.places.labels[place[0]][place[1]]) == 1:
            one = index.flatten()[:1]
            if made == 1 and not found.out_of:
                found.out_of[place] = one
            elif read == 1 and not found.into and groups == 1:
                found.into[place] = one
    if groups > 1:
        parts = Parts(node, found.inputs.reshape(groups, -1), found.outputs.reshape(groups, -1))
        analysis.parts.append(parts)
        units = torch.cat([parts.inputs, parts.outputs], 1)
        if not found.into or units.shape[1] == 2:  # of a depthwise convolution, or of a weight of which no columns can go
            analysis.labels.unite(units, units[:, :1])
    if not covered[0]:
        analysis.hold(node, found.outputs)
    if not covered[1]:
        analysis.hold(node, found.inputs, numbers)
    if bias is not None:
        if not bias.sources and made > 1:
            analysis.hold(node, found.outputs)
        for place, index in bias.sources.items():
            found.out_of[place] = core(index).flatten()
            analysis.hold(None, analysis.places.link(place, core(index).flatten(), found.outputs))


def _linear(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    value, weight, bias = (*args, None)[:3]
    return _or_unknown(analysis, node, args, kwargs, value, weight, bias)


def _or_unknown(
    analysis: Analysis, node: fx.Node, args: Any, kwargs: Any, value: Value, weight: Value, bias: Value | None
) -> Any:
    if value.filler is not None:
        value = analysis.filled(node, value)
    fits = weight.concrete is not None and len(weight.shape) == 2 and value.concrete is None and value.shape
    if not fits or not weight.concrete.is_floating_point():  # type: ignore[union-attr]
        return analysis.unknown(node, args, kwargs)
    return product(analysis, node, value, weight, bias, -1)


def _transposed(value: Value) -> Value:
    return value.moved(lambda tensor: tensor.transpose(-1, -2) if tensor.ndim > 1 else tensor)


def _matmul(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    return _or_unknown(analysis, node, args, kwargs, args[0], _transposed(args[1]), None)


def _addmm(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    bias, value, weight = args
    if kwargs.get("alpha", 1) != 1 or kwargs.get("beta", 1) != 1:
        return analysis.unknown(node, args, kwargs)
    return _or_unknown(analysis, node, args, kwargs, value, _transposed(weight), bias)


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm"), _matmul),
    "addmm": _addmm,
}
"""By the name of an operation."""
