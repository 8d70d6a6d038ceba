"""Rules for normalisations over units: layer, RMS and group normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import Exported, operation
from pyro_vd.compaction.findings import Norm
from pyro_vd.compaction.labels import along, core, varying
from pyro_vd.compaction.rules_elementwise import joined_labels
from pyro_vd.compaction.rules_positions import RULES as POSITIONS
from pyro_vd.compaction.values import Value
from pyro_vd.networks.partial_norms import PartialNorm


def is_memory(graph: Exported, name: str) -> bool:
    """Whether a buffer holds the values of units that a normalisation has lost: numbers, no units any more."""
    path, _, own = name.rpartition(".")
    return own == "removed" and isinstance(graph.net.get_submodule(path), PartialNorm)


def _layer_norm(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    value, sizes, *rest = args
    given = [part for part in rest if isinstance(part, Value)]
    axis = len(value.shape) - 1
    dim = _replaceable(analysis.graph, node)
    if dim is None or len(sizes) > 1 or not varying(analysis.labels.find(core(value.labels))) <= {axis}:
        return _held(analysis, node, value, [axis - place for place in range(len(sizes))], given)
    vector, numbers = analysis.units_along(value, axis, node)
    analysis.norms.append(Norm(analysis.graph.path(node), vector, numbers, dim))
    labels = joined_labels(analysis, node, [Value(along(vector, axis, value.shape), value.flow), *given], value.shape)
    read = along(numbers.isnan(), axis, value.shape)
    flow = value.flow.where(read, torch.zeros(())).sum(axis, keepdim=True).expand(value.shape)
    made = numbers.where((numbers == 0) & (operation(node) == "rms_norm"), torch.nan)
    return _scaled(Value(labels, flow, along(made, axis, value.shape)), given)


def _replaceable(graph: Exported, node: fx.Node) -> int | None:
    """The dimension of the units in the input of the module that does nothing but this normalisation; None where none does."""
    path = graph.path(node)
    module = graph.net.get_submodule(path)
    if isinstance(module, PartialNorm):
        return module.dim
    if not isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return None
    steps = [other for other in graph.nodes if graph.path(other) == path]
    if steps == [node]:
        return -1
    if len(steps) != 3 or steps[1] is not node or {operation(steps[0]), operation(steps[2])} != {"permute"}:
        return None
    before, after = ([dim % len(dims) for dim in dims] for dims in (steps[0].args[1], steps[2].args[1]))  # type: ignore
    return before[-1] if [before[dim] for dim in after] == [*range(len(after))] else None


_CONVERSIONS = ("to", "_to_copy", "_assert_tensor_metadata")


def _mean(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule for a mean; that of squares in RMS normalisation, if a module does nothing else, may lose constant units."""
    found = _root_mean_square(analysis.graph, node)
    if found is None:
        return POSITIONS["mean"](analysis, node, args, kwargs)
    (squares, *_), (source, eps) = args, found
    value, axis = analysis.values[source], len(squares.shape) - 1
    if not varying(analysis.labels.find(core(value.labels))) <= {axis}:
        return POSITIONS["mean"](analysis, node, args, kwargs)
    vector, numbers = analysis.units_along(value, axis, node)
    analysis.norms.append(Norm(analysis.graph.path(node), vector, numbers, -1, eps))
    made = node.meta["val"].shape
    flow = squares.flow.where(along(numbers.isnan(), axis, squares.shape), torch.zeros(())).sum(axis, keepdim=True)
    return Value(torch.full((), -1).expand(made), flow.expand(made))


def _root_mean_square(graph: Exported, node: fx.Node) -> tuple[fx.Node, float] | None:
    """What a module divides by its root mean square, as many write it by hand, and the eps; None for any other mean."""
    path = graph.path(node)
    steps = [other for other in graph.nodes if graph.path(other) == path and operation(other) not in _CONVERSIONS]
    if [operation(step) for step in steps] != ["pow", "mean", "add", "rsqrt", "mul", "mul"]:
        return None
    power, mean, plus, root, scaled, gained = steps
    source, eps = power.args[0], plus.args[1]
    of_last = (power.args[1], mean.args[1], mean.args[2:]) == (2, [-1], (True,)) and isinstance(eps, float)
    factors = {_unconverted(part) for part in scaled.args} == {_unconverted(source), root}
    gain = {graph.names.get(part) for part in gained.args if isinstance(part, fx.Node)}
    weight = graph.net.get_submodule(path)._parameters.get("weight")
    if not (of_last and factors and f"{path}.weight" in gain and weight is not None) or weight.ndim != 1:
        return None
    return source, eps  # type: ignore[return-value]


def _unconverted(node: Any) -> Any:
    """The node whose numbers were converted to another type."""
    while isinstance(node, fx.Node) and operation(node) in _CONVERSIONS:
        node = node.args[0]
    return node


def _group_norm(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    """The rule for normalisation over groups of channels, which are kept or removed as a whole."""
    value, groups, *rest = args
    shape, (*_, eps) = value.shape, (*rest, 1e-5)[:3]
    by_axis = [-1, *[1] * (len(shape) - 2)]
    given = [part.moved(lambda tensor: tensor.reshape(by_axis)) for part in rest if isinstance(part, Value)]
    own = isinstance(analysis.graph.net.get_submodule(analysis.graph.path(node)), nn.GroupNorm)
    small = analysis.labels.find(core(value.labels))
    if not own or groups == 1 or not given or varying(small) != {1} or bool((small < 0).any()):
        return _held(analysis, node, value, [*range(1, len(shape))], given)
    vector, numbers = analysis.units_along(value, 1, node)
    parts, known = vector.reshape(groups, -1), numbers.reshape(groups, -1)
    analysis.labels.unite(parts, parts[:, :1])
    labels = joined_labels(analysis, node, [Value(along(vector, 1, shape), value.flow), *given], shape)
    made = (known - known.mean(1, keepdim=True)) / (known.var(1, keepdim=True, correction=0) + eps).sqrt()
    flow = value.flow_along(1).reshape(groups, -1)
    flow = flow.sum(1, keepdim=True).expand(parts.shape)
    return _scaled(Value(labels, along(flow.flatten(), 1, shape), along(made.flatten(), 1, shape)), given)


def _held(analysis: Analysis, node: fx.Node, value: Value, dims: list[int], given: list[Value]) -> Value:
    """The output of a normalisation that cannot be made smaller: all that it reads stay."""
    analysis.hold_value(node, value)
    labels = joined_labels(analysis, node, [value, *given], value.shape)
    return _scaled(Value(labels, value.flow.sum(dims, keepdim=True).expand(value.shape)), given)


def _scaled(value: Value, given: list[Value]) -> Value:
    """A value times a gain, plus a shift, where they are given: where the gain is 0, the output is the shift."""
    if not given:
        return value
    scale = given[0].constant
    shift = given[1].constant if len(given) > 1 else torch.zeros((), dtype=torch.float64)
    numbers = shift.where(scale == 0, value.constant * scale + shift).expand(value.shape)
    return Value(value.labels, value.flow.where(scale.expand(value.shape) != 0, torch.zeros(())), numbers)


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "group_norm": _group_norm,
    "mean": _mean,
}
"""By the name of an operation."""
