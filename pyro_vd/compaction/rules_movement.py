"""Rules for operations that only move entries: the same operation is carried out on labels, constants and marks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import operation
from pyro_vd.compaction.labels import core, varying
from pyro_vd.compaction.values import Value, known, unknown

ops: Any = torch.ops.aten


def _move(function: Callable[..., Any]) -> Callable[[Analysis, fx.Node, Any, Any], Any]:
    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
        value, *rest = args
        return value.moved(lambda tensor: function(tensor, *rest, **kwargs))

    return rule


def _parts(function: Callable[..., Any]) -> Callable[[Analysis, fx.Node, Any, Any], Any]:
    """The rule for an operation that gives several parts; parts of one axis of units must keep the same number each."""

    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> list[Value]:
        value, *rest = args
        count = len(function(value.labels, *rest, **kwargs))
        parts = [value.moved(lambda t, part=part: function(t, *rest, **kwargs)[part]) for part in range(count)]
        along_one = len(varying(value.labels)) == 1 or all(len(varying(part.labels)) == 1 for part in parts)
        if along_one and len({part.shape for part in parts}) == 1:
            analysis.equal_parts.append([core(part.labels).flatten() for part in parts])
        return parts

    return rule


def _same(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The rule for a change of the type of the numbers, or of nothing."""
    value: Value = args[0]
    made = node.meta["val"]
    if value.concrete is not None:
        return replace(value, concrete=value.concrete.to(made.dtype), numbers=value.numbers)
    return value if made.is_floating_point() else value.with_numbers(None)


def _dropout(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    value, rate, train = args
    return value if not train or rate == 0 else analysis.unknown(node, args, kwargs)


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


def _by_order(function: Callable[..., Any]) -> Callable[[Analysis, fx.Node, Any, Any], Value]:
    """The rule for an operation that depends on the number of entries along an axis: units there stay."""

    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
        value, *rest = args
        dims = rest[-1] if len(rest) > 1 else ()
        dims = {dim % len(value.shape) for dim in ([dims] if isinstance(dims, int) else dims)}
        if dims & varying(value.labels) or not dims:
            analysis.hold_value(node, value)
        return value.moved(lambda tensor: function(tensor, *rest, **kwargs))

    return rule


def _cat(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The rule for concatenation: along other axes than its own, the units of all parts are united."""
    values, axis = list(args[0]), (*args[1:], kwargs.get("dim", 0))[0]
    axis %= len(node.meta["val"].shape)
    values = [value for value in values if value.shape != (0,)]
    if all(value.concrete is not None for value in values):
        places = {place for value in values for place in value.sources}
        joined = {
            place: torch.cat([value.sources.get(place, torch.full((), -1).expand(value.shape)) for value in values], axis)
            for place in places
        }
        return replace(_joined(values, axis), concrete=torch.cat([value.concrete for value in values], axis), sources=joined)
    with_units = [value for value in values if value.has_units]
    if with_units:
        axes = frozenset[int]().union(*(varying(value.labels) for value in with_units))
        values = [_beside(analysis, node, value, with_units[0], axis, axes - {axis}) for value in values]
    return _joined(values, axis)


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


def _joined(values: list[Value], axis: int) -> Value:
    parts = [[getattr(value, name) for value in values] for name in ("labels", "flow", "constant")]
    labels, flow, numbers = (torch.cat(part, axis) for part in parts)
    return Value(labels, flow, numbers)


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


def _data(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The rule for a tensor of which only the shape of another one is used."""
    return unknown(node.meta["val"].shape)


def _zeros(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The rule for new zeros, such as the state that a recurrent cell starts from."""
    made = node.meta["val"]
    return replace(known(torch.zeros((), dtype=made.dtype).expand(made.shape)), filler=node)


def _zeros_like(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The rule for zeros in the shape of another tensor, whose units they belong to."""
    value: Value = args[0]
    zeros = torch.zeros((), dtype=torch.float64).expand(value.shape)
    return Value(value.labels, unknown(value.shape).flow, zeros)


def _nothing(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> None:
    """The rule for a check that gives no tensor."""


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), _move(torch.reshape)),
    **{
        name: _move(getattr(torch, name))
        for name in ("flatten", "unflatten", "permute", "transpose", "squeeze", "unsqueeze", "movedim", "swapaxes", "flip")
    },
    "t": _move(torch.t),
    "numpy_T": _move(lambda tensor: tensor.T),
    "mT": _move(lambda tensor: tensor.mT),
    "expand": _move(lambda tensor, size, **_: tensor.expand(size)),
    "expand_as": _move(lambda tensor, other: tensor.expand(other.shape)),
    "repeat": _move(lambda tensor, sizes: tensor.repeat(sizes)),
    "repeat_interleave": _move(lambda tensor, *rest, **options: torch.repeat_interleave(tensor, *rest, **options)),
    "pixel_shuffle": _move(torch.pixel_shuffle),
    "pixel_unshuffle": _move(torch.pixel_unshuffle),
    "channel_shuffle": _by_order(torch.channel_shuffle),
    "narrow": _move(torch.narrow),
    "roll": _by_order(torch.roll),
    **{name: _parts(getattr(torch, name)) for name in ("split", "chunk", "tensor_split", "unbind")},
    "split_with_sizes": _parts(torch.split),
    "slice": _slice,
    "select": _select,
    "cat": _cat,
    "concat": _cat,
    "stack": _stack,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "index": _index,
    **dict.fromkeys(("contiguous", "clone", "alias", "detach", "to", "_to_copy", "type_as", "lift_fresh_copy", "float"), _same),
    **dict.fromkeys(("zeros", "new_zeros"), _zeros),
    "zeros_like": _zeros_like,
    "_assert_tensor_metadata": _nothing,
    "dropout": _dropout,
    **dict.fromkeys(("alpha_dropout", "feature_dropout", "feature_alpha_dropout"), _dropout),
    **dict.fromkeys(("ones_like", "new_ones", "new_full", "full_like"), _data),
}
"""By the name of an operation."""
