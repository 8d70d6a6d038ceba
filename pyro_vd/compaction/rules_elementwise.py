"""Rules for operations whose output at each place depends on the inputs at the same place alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import operation
from pyro_vd.compaction.labels import Sources, core, varying
from pyro_vd.compaction.values import Value, known

_ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "log_sigmoid", "tanh"),
    *("softplus", "softsign", "hardtanh", "hardsigmoid", "hardswish", "threshold", "clamp", "clamp_min", "clamp_max"),
)
_FINITE = (
    *("abs", "neg", "exp", "expm1", "sin", "cos", "atan", "erf", "square", "sign", "floor", "ceil", "round", "trunc"),
    *("add", "sub", "rsub", "mul", "maximum", "minimum", "where", "lerp", "addcmul", "masked_fill"),
)
_DIVISIONS = ("div", "true_divide", "floor_divide", "remainder", "fmod")
_SINGULAR = (*_DIVISIONS, "pow", "sqrt", "rsqrt", "reciprocal", "log", "log1p", "log2")
_TRUTHS = ("eq", "ne", "lt", "le", "gt", "ge", "__and__", "__or__", "logical_and", "logical_or", "logical_not", "bitwise_not")


def elementwise(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The value of a function of several values at each place."""
    shape = node.meta["val"].shape
    values = [part for part in (*args, *kwargs.values()) if isinstance(part, Value)]
    labels = joined_labels(analysis, node, values, shape)
    numbers = _numbers(node, args, kwargs, values, shape)
    flow = torch.zeros(()).expand(shape)
    for value in values:
        others = [other for other in values if other is not value]
        flow = flow + (_unless_zero(value, others) if operation(node).rstrip("_") == "mul" else value.flow)
    return Value(labels, flow, numbers)


def joined_labels(analysis: Analysis, node: fx.Node, values: list[Value], shape: torch.Size) -> Tensor:
    """The labels of the output of an operation on values at the same place, whose units are united.

    A value of size 1 along the axes of another one's units, such as a gate for all of them, is not united with them.
    """
    labels = torch.full((), -1).expand(shape)
    sizes = [1] * len(shape)
    for number, value in enumerate(value for value in values if value.has_units):
        its = value.labels.expand(shape)
        own = [_size(value.labels, dim, shape) for dim in range(len(shape))]
        axes, others = varying(labels), varying(its)
        if not number or (others and not axes and not _both_wide(others, sizes, own)):
            labels = its
        elif _both_wide(axes | others, sizes, own) or not axes | others:
            labels = _united(analysis, node, labels, its)
        elif axes and others:  # every unit of one with every unit of the other
            analysis.hold_value(node, value)
            analysis.hold(node, labels)
            return torch.full((), -1).expand(shape)
        sizes = [max(pair) for pair in zip(sizes, own, strict=True)]
    if bool((core(labels) >= 0).any()):
        for value in (value for value in values if not value.has_units):
            _meet(analysis, node, value, labels, shape)
    return labels


def _both_wide(axes: frozenset[int], sizes: list[int], own: list[int]) -> bool:
    return any(sizes[dim] > 1 and own[dim] > 1 for dim in axes)


def _united(analysis: Analysis, node: fx.Node, labels: Tensor, its: Tensor) -> Tensor:
    """The labels of two tensors that are united; units that meet no unit stay."""
    one, two = core(labels), core(its)
    analysis.labels.unite(one, two)
    if not bool((one < 0).any() or (two < 0).any()):
        return labels if varying(labels) >= varying(its) else its
    analysis.hold(node, one.where(two < 0, -1))
    analysis.hold(node, two.where(one < 0, -1))
    return labels.where(labels >= 0, its)


def _meet(analysis: Analysis, node: fx.Node, value: Value, labels: Tensor, shape: torch.Size) -> None:
    """Link the parameters that meet units along an axis; units that meet anything else there stay."""
    axes = {dim for dim in varying(labels) if _size(value.labels, dim, shape) > 1}
    if not axes:
        return
    if value.filler is not None:
        analysis.fill(node, value.filler, labels)
        return
    sources = {place: index.expand(shape) for place, index in value.sources.items()}
    analysis.link(node, sources, labels)
    covered = frozenset[int]().union(*(varying(index) for index in sources.values()))
    if axes - covered:
        analysis.hold(node, labels)


def _size(tensor: Tensor, dim: int, shape: torch.Size) -> int:
    """The size that a tensor has along a dimension of the shape that it is broadcast to."""
    own = dim - (len(shape) - tensor.ndim)
    return tensor.shape[own] if own >= 0 else 1


def _unless_zero(value: Value, others: list[Value]) -> Tensor:
    """The marks of a factor: none go to where another factor is 0."""
    flow = value.flow
    for other in others:
        if other.concrete is not None or other.numbers is not None:
            zero = core(other.constant == 0)
            flow = flow.where(~zero, torch.zeros(())) if bool(zero.any()) else flow
    return flow


def _numbers(node: fx.Node, args: Any, kwargs: Any, values: list[Value], shape: torch.Size) -> Tensor | None:
    """The entries of the output that are the same for all inputs."""
    if not node.meta["val"].is_floating_point():
        return None
    name, target = operation(node), _functional(node)
    if name.rstrip("_") == "where" and values[0].concrete is not None:
        condition = values[0].concrete
        given = [(part.constant if isinstance(part, Value) else part) for part in args]
        chosen: Tensor = torch.where(condition, given[1], given[2])
        return chosen.double().expand(shape)
    if all(value.concrete is None and value.numbers is None for value in values):
        return None
    unknown_places = torch.zeros((), dtype=torch.bool)
    for value in values:
        unknown_places = unknown_places | core(value.constant).isnan()
    plain = [part.constant if isinstance(part, Value) else part for part in args]
    named = {key: part.constant if isinstance(part, Value) else part for key, part in kwargs.items()}
    if name.rstrip("_") in ("where", "masked_fill"):
        return None
    small = [core(part) if isinstance(part, Tensor) else part for part in plain]
    numbers: Tensor = target(*small, **{key: core(part) if isinstance(part, Tensor) else part for key, part in named.items()})
    numbers = numbers.double().where(~unknown_places, torch.nan)
    if name.rstrip("_") == "mul" and len(values) == 2:
        for value in values:
            zero = core(value.constant) == 0
            numbers = torch.zeros((), dtype=torch.float64).where(zero, numbers)
    return numbers.expand(shape)


def _functional(node: fx.Node) -> Any:
    """The operation of a node, not in place."""
    target = cast(Any, node.target)
    name = operation(node)
    if not name.endswith("_") or name.endswith("__"):
        return target
    return getattr(getattr(torch.ops.aten, name[:-1]), target._overloadname)


def of_known(analysis: Analysis, node: fx.Node, made: Tensor, given: list[Value]) -> Value:
    """The output of an operation on tensors that are known: its entries come from where theirs do."""
    sources: Sources = {}
    for value in given:
        for place, index in value.sources.items():
            index = index.expand(made.shape)
            for other, known_index in sources.items():
                if varying(index) & varying(known_index):
                    labels = analysis.places.labels_at(other, core(known_index))
                    analysis.places.linked.add(other)
                    analysis.places.link(place, core(index), labels)
            sources[place] = index
    result = known(made, sources)
    if any(value.numbers is not None for value in given):
        result = replace(result, numbers=torch.full((), torch.nan, dtype=torch.float64).expand(made.shape))
    return result


def _singular(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule for a function that may not be finite: units that it divides by stay, as one that is removed would be 0."""
    name = operation(node).rstrip("_")
    divisor = args[1] if name in _DIVISIONS else args[0]
    is_power = name == "pow" and isinstance(args[1], int | float) and args[1] >= 0
    at = node.args[1] if name in _DIVISIONS else node.args[0]
    if isinstance(divisor, Value) and not is_power and divisor.concrete is None and not _is_positive(at):
        analysis.hold_value(node, divisor)
        analysis.sinks.append(divisor.flow.sum())
    return elementwise(analysis, node, args, kwargs)


def _is_positive(node: Any, strictly: bool = True) -> bool:
    """Whether a number or a node is positive, whatever the inputs are; not ``strictly``: or zero."""
    if isinstance(node, int | float):
        return node > 0 or (node == 0 and not strictly)
    if not isinstance(node, fx.Node):
        return False
    name = operation(node).rstrip("_")
    if name == "add" and len(node.args) == 2 and not node.kwargs:
        signs = [(_is_positive(part, True), _is_positive(part, False)) for part in node.args]
        return all(at_least for _, at_least in signs) and (not strictly or any(positive for positive, _ in signs))
    return name in ("sigmoid", "exp", "softplus") or (not strictly and name in ("abs", "square", "relu"))


def _prelu(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    value, slope = args
    if len(value.shape) > 1:
        slope = slope.moved(lambda tensor: tensor.reshape(-1, *[1] * (len(value.shape) - 2)))
    labels = joined_labels(analysis, node, [value, slope], value.shape)
    numbers, slopes = value.constant, slope.constant
    return Value(labels, value.flow, numbers.where(numbers >= 0, numbers * slopes).expand(value.shape))


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **dict.fromkeys((*_ACTIVATIONS, *_FINITE, *_TRUTHS), elementwise),
    **dict.fromkeys(_SINGULAR, _singular),
    "prelu": _prelu,
}
"""By the name of an operation."""
