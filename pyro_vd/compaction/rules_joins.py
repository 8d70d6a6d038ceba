"""Rules for operations that put tensors, or new places, beside each other: concatenation and padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import operation
from pyro_vd.compaction.labels import core, varying
from pyro_vd.compaction.values import Value, joined


def _cat(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The rule for concatenation: along other axes than its own, the units of all parts are united."""
    values, axis = list(args[0]), (*args[1:], kwargs.get("dim", 0))[0]
    axis %= len(node.meta["val"].shape)
    values = [value for value in values if value.shape != (0,)]
    if all(value.concrete is not None for value in values):
        places = {place for value in values for place in value.sources}
        sources = {
            place: torch.cat([value.sources.get(place, torch.full((), -1).expand(value.shape)) for value in values], axis)
            for place in places
        }
        return replace(joined(values, axis), concrete=torch.cat([value.concrete for value in values], axis), sources=sources)
    with_units = [value for value in values if value.has_units]
    if with_units:
        axes = frozenset[int]().union(*(varying(value.labels) for value in with_units))
        values = [_beside(analysis, node, value, with_units[0], axis, axes - {axis}) for value in values]
    return joined(values, axis)


def _beside(analysis: Analysis, node: fx.Node, value: Value, first: Value, axis: int, axes: frozenset[int]) -> Value:
    """A value that is put beside ``first``: units along other axes must be the same ones."""
    one = first.labels.narrow(axis, 0, 1)
    if value is first or (axis in varying(first.labels) and value.has_units):
        return value
    if value.has_units:
        if axes:
            analysis.labels.unite(core(value.labels), core(one))
        return value
    if not value.sources:
        if axes and value.concrete is not None and not bool(value.concrete.any()):  # zeros of every unit
            return Value(one.expand(value.shape), value.flow, value.constant)
        if axes:
            analysis.hold(node, one)
        return value
    labels = one.expand(value.shape) if axes else analysis.fresh(value.shape[axis], axis, value.shape)
    analysis.link(node, value.sources, labels)
    return Value(labels, analysis.root.expand(value.shape), value.constant)


def _stack(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    axis = (*args[1:], kwargs.get("dim", 0))[0]
    axis %= len(node.meta["val"].shape)
    values = [value.moved(lambda tensor: tensor.unsqueeze(axis)) for value in args[0]]
    return _cat(analysis, node, (values, axis), {})


def _pad(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule for padding along axes of positions."""
    value, amounts, *rest = args
    dims = {len(value.shape) - 1 - place // 2 for place, amount in enumerate(amounts) if amount}
    shape = node.meta["val"].shape
    target: Any = node.target
    if value.concrete is not None or any(amount < 0 for amount in amounts):
        return analysis.unknown(node, args, kwargs)
    if dims & varying(value.labels):  # the new places belong to no unit, or to that of the place that is repeated
        constant = operation(node) == "constant_pad_nd" or (rest or ["constant"])[0] == "constant"
        given = (*([] if operation(node) == "constant_pad_nd" else ["constant"]), -1.0) if constant else rest
        labels = target(value.labels.double(), amounts, *given).long()
    else:
        labels = value.labels
        for dim in dims:
            labels = labels.narrow(dim, 0, 1)
        labels = labels.expand(shape)
    flow = value.flow.sum([*dims], keepdim=True).expand(shape) if dims else value.flow
    return Value(labels, flow, target(value.constant.contiguous(), amounts, *rest, **kwargs))


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    "cat": _cat,
    "concat": _cat,
    "stack": _stack,
    "pad": _pad,
    "constant_pad_nd": _pad,
}
"""By the name of an operation."""
