"""Rules for operations that mix positions and leave units apart: pooling, means over positions, batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.labels import along, varying
from pyro_vd.compaction.rules_elementwise import elementwise, joined_labels
from pyro_vd.compaction.values import Value


def mixed(analysis: Analysis, node: fx.Node, value: Value, shape: torch.Size, dims: list[int]) -> Value:
    """The output of an operation that mixes units along some axes, which all stay; ``shape`` is that of the output."""
    analysis.hold_value(node, value)
    flow = value.flow.sum(dims, keepdim=True)
    labels = torch.full((), -1).expand(shape)
    return Value(labels, flow.expand(shape) if len(shape) == flow.ndim else flow.sum().expand(shape))


def _pool(rank: int) -> Callable[[Analysis, fx.Node, Any, Any], Value]:
    """The rule for pooling over ``rank`` axes: a constant stays one where no size of the input changes it."""

    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
        value, *rest = args
        axis = len(value.shape) - rank - 1
        made = node.meta["val"]
        shape = made.shape if isinstance(made, Tensor) else made[0].shape
        labels, numbers = analysis.units_along(value, axis, node)
        if bool(numbers.isfinite().any()):
            target: Any = node.target
            pooled = target(along(numbers, axis, value.shape).contiguous(), *rest, **kwargs)
            pooled = pooled if isinstance(pooled, Tensor) else pooled[0]
            worst = (pooled - along(numbers, axis, shape)).abs().movedim(axis, 0).flatten(1).amax(1)
            numbers = numbers.where(worst <= 1e-9 * numbers.abs(), torch.nan)
        flow = value.flow.sum([dim for dim in range(len(shape)) if dim != axis], keepdim=True)
        found = Value(along(labels, axis, shape), flow.expand(shape), along(numbers, axis, shape))
        return found if isinstance(made, Tensor) else [found, found.with_numbers(None)]

    return rule


def _dims(value: Value, dims: Any) -> list[int]:
    if dims is None or dims == []:
        return list(range(len(value.shape)))
    return [dim % len(value.shape) for dim in ([dims] if isinstance(dims, int) else dims)]


def _named(node: fx.Node, rest: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an operation after the first one, by name."""
    target: Any = node.target
    return dict(zip((argument.name for argument in target._schema.arguments[1:]), rest, strict=False)) | kwargs


def _reduce(keeps_constant: bool, keeps_zero: bool = True) -> Callable[[Analysis, fx.Node, Any, Any], Any]:
    """The rule for a reduction over dimensions, such as a mean or a sum."""

    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
        value, *rest = args
        if any(isinstance(part, Value) for part in rest):  # the larger or smaller one at each place
            return elementwise(analysis, node, args, kwargs)
        given = _named(node, rest, kwargs)
        dims, keep = _dims(value, given.get("dim")), given.get("keepdim", False)
        made = node.meta["val"]
        if not isinstance(made, Tensor):
            made = made[0]
        if set(dims) & varying(value.labels):
            found = mixed(analysis, node, value, made.shape, dims)
        else:
            numbers = value.constant
            low, high = numbers.amin(dims, keepdim=True), numbers.amax(dims, keepdim=True)
            same = (high - low <= 1e-12 * high.abs()) & (((low == 0) & keeps_zero) | keeps_constant)
            labels = value.labels.amax(dims, keepdim=True)
            found = Value(labels, value.flow.sum(dims, keepdim=True), low.where(same, torch.nan))
            if not keep:
                found = found.moved(lambda tensor: tensor.reshape(made.shape))
        return found if isinstance(node.meta["val"], Tensor) else [found, found.with_numbers(None)]

    return rule


def _along(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The rule for a function along an axis that keeps the shape, such as softmax."""
    value, dim, *_ = args
    dim %= len(value.shape)
    if dim in varying(value.labels):
        return mixed(analysis, node, value, value.shape, [dim])
    return Value(value.labels, value.flow.sum(dim, keepdim=True).expand(value.shape))


def _batch_norm(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    value, weight, bias, mean, variance, training, _, eps, *_ = args
    labels, numbers = _by_channel(analysis, node, value, [weight, bias, mean, variance])
    scale = torch.ones((), dtype=torch.float64) if weight is None else weight.constant
    shift = torch.zeros((), dtype=torch.float64) if bias is None else bias.constant
    if training or mean is None:
        known = numbers.where(torch.zeros((), dtype=torch.bool), torch.nan)
    else:
        known = (numbers - mean.constant) / (variance.constant + eps).sqrt() * scale + shift
    known = shift.where(scale == 0, known)
    return _scaled(value, labels, known, scale)


def _instance_norm(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    value, weight, bias, mean, variance, *_ = args
    labels, numbers = _by_channel(analysis, node, value, [weight, bias, mean, variance])
    scale = torch.ones((), dtype=torch.float64) if weight is None else weight.constant
    shift = torch.zeros((), dtype=torch.float64) if bias is None else bias.constant
    known = shift.where(scale == 0, torch.full(numbers.shape, torch.nan, dtype=torch.float64))
    flow = value.flow.sum([*range(2, len(value.shape))], keepdim=True).expand(value.shape)
    return _scaled(Value(value.labels, flow), labels, known, scale)


def _by_channel(analysis: Analysis, node: fx.Node, value: Value, parameters: list[Value | None]) -> tuple[Tensor, Tensor]:
    """The labels and constants of the channels, united with the entries of the parameters."""
    vector, numbers = analysis.units_along(value, 1, node)
    given = [parameter for parameter in parameters if parameter is not None]
    channels = Value(vector, analysis.root.expand(vector.shape))
    return joined_labels(analysis, node, [channels, *given], vector.shape), numbers


def _scaled(value: Value, labels: Tensor, numbers: Tensor, scale: Tensor) -> Value:
    def spread(tensor: Tensor) -> Tensor:
        return along(tensor.expand(value.shape[1]), 1, value.shape)

    flow = value.flow.where(spread(scale != 0), torch.zeros(())) if bool((scale == 0).any()) else value.flow
    return Value(spread(labels), flow, spread(numbers))


_POOLS = ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool")

RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **{f"{pool}{rank}d": _pool(rank) for pool in _POOLS for rank in (1, 2, 3)},
    **{f"max_pool{rank}d_with_indices": _pool(rank) for rank in (2, 3)},
    **{f"upsample_{kind}": _pool(rank) for kind, rank in (("nearest1d", 1), ("nearest2d", 2), ("nearest3d", 3))},
    **{
        f"upsample_{kind}": _pool(rank)
        for kind, rank in (("linear1d", 1), ("bilinear2d", 2), ("bicubic2d", 2), ("trilinear3d", 3))
    },
    **dict.fromkeys(("mean", "amax", "amin", "max", "min", "median"), _reduce(True)),
    **dict.fromkeys(("sum", "var", "std", "prod", "norm", "linalg_vector_norm"), _reduce(False)),
    "logsumexp": _reduce(False, keeps_zero=False),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "cumsum"), _along),
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
}
"""By the name of an operation."""
