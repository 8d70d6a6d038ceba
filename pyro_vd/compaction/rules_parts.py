"""Rules for operations that take entries of a tensor: parts, ranges, single indices, choices of positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.labels import core, varying
from pyro_vd.compaction.values import Value

ops: Any = torch.ops.aten


def _parts(function: Callable[..., Any]) -> Callable[[Analysis, fx.Node, Any, Any], Any]:
    """The rule for an operation that gives several parts; parts of one axis of units must keep the same number each."""

    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> list[Value]:
        value, *rest = args
        parts = value.divided(lambda tensor: function(tensor, *rest, **kwargs))
        along_one = len(varying(value.labels)) == 1 or all(len(varying(part.labels)) == 1 for part in parts)
        if along_one and len({part.shape for part in parts}) == 1:
            analysis.equal_parts.append([core(part.labels).flatten() for part in parts])
        return parts

    return rule


def _slice(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The rule for a range of indices along an axis: the units before its end stay, or both halves keep the same number."""
    value: Value = args[0]
    given: list[Any] = [*args[1:], *(0, None, None, 1)[len(args) - 1 :]]
    dim, start, end, step = given
    dim %= len(value.shape)
    size = value.shape[dim]
    start, stop, _ = slice(start, end, step).indices(size)
    result = value.moved(lambda tensor: ops.slice.Tensor(tensor, dim, start, stop, step))
    if (start, stop, step) == (0, size, 1):
        return result
    if dim in varying(value.labels):
        halves = size % 2 == 0 and (start, stop) in ((0, size // 2), (size // 2, size)) and step == 1
        if halves:
            parts = core(value.labels).chunk(2, dim)
            analysis.equal_parts.append([part.flatten() for part in parts])
        else:
            _keep_places(analysis, node, value, dim, start, stop)
    if value.sources:  # a part of a table of positions; another example may need another part
        whole = value.constant
        same = whole.amax(dim, keepdim=True) == whole.amin(dim, keepdim=True)
        result = replace(result, numbers=result.constant.where(same, torch.nan))
    return result


def _keep_places(analysis: Analysis, node: fx.Node, value: Value, dim: int, start: int, stop: int) -> None:
    """Let a range keep its indices: units before it stay, and its own ones if any behind it do."""
    size = value.shape[dim]
    analysis.hold(node, value.labels.narrow(dim, 0, start), value.constant.narrow(dim, 0, start))
    inside, behind = value.labels.narrow(dim, 0, stop), value.labels.narrow(dim, stop, size - stop)
    analysis.ranges.append((core(inside).flatten(), core(behind).flatten()))


def _select(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    value, dim, index = args
    axes = varying(value.labels)
    dim %= len(value.shape)
    if axes == {dim}:
        last = index % value.shape[dim] + 1
        analysis.hold(node, value.labels.narrow(dim, 0, last), value.constant.narrow(dim, 0, last))
    return value.moved(lambda tensor: tensor.select(dim, index))


def _index(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule for a choice of entries: along an axis of positions only, unless both are known."""
    value, indices = args
    chosen = [None if index is None else index.concrete for index in indices]
    if value.concrete is not None and all(
        known is not None or index is None for known, index in zip(chosen, indices, strict=True)
    ):
        return value.moved(lambda tensor: ops.index.Tensor(tensor, chosen))
    dims = [dim for dim, index in enumerate(indices) if index is not None]
    if len(dims) != 1 or dims[0] in varying(value.labels) or value.concrete is not None:
        return analysis.unknown(node, args, kwargs)
    (dim,) = dims
    shape = node.meta["val"].shape
    extra = len(shape) - len(value.shape)

    def place(tensor: Tensor) -> Tensor:
        one = tensor.narrow(dim, 0, 1)
        return one.reshape(*one.shape[:dim], *[1] * (extra + 1), *one.shape[dim + 1 :]).expand(shape)

    numbers = value.constant
    same = numbers.amax(dim, keepdim=True) == numbers.amin(dim, keepdim=True)
    flow = value.flow.sum(dim, keepdim=True)
    return Value(place(value.labels), place(flow), place(numbers.where(same, torch.nan)))


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **{name: _parts(getattr(torch, name)) for name in ("split", "chunk", "tensor_split", "unbind")},
    "split_with_sizes": _parts(torch.split),
    "slice": _slice,
    "select": _select,
    "index": _index,
}
"""By the name of an operation."""
