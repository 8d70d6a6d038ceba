"""Rules for operations that mix units: layer normalisation and others of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.rules_elementwise import joined_labels
from pyro_vd.compaction.values import Value


def _layer_norm(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    value, sizes, *rest = args
    dims = [len(value.shape) - 1 - place for place in range(len(sizes))]
    return _normalised(analysis, node, value, dims, [part for part in rest if isinstance(part, Value)])


def _group_norm(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Value:
    value, _, *rest = args
    by_axis = [-1, *[1] * (len(value.shape) - 2)]
    given = [part.moved(lambda tensor: tensor.reshape(by_axis)) for part in rest if isinstance(part, Value)]
    return _normalised(analysis, node, value, [*range(1, len(value.shape))], given)


def _normalised(analysis: Analysis, node: fx.Node, value: Value, dims: list[int], given: list[Value]) -> Value:
    """The output of a normalisation over units: all that it reads stay; where the gain is 0, the output is the shift."""
    analysis.hold_value(node, value)
    labels = joined_labels(analysis, node, [value, *given], value.shape)
    flow = value.flow.sum(dims, keepdim=True).expand(value.shape)
    if not given:
        return Value(labels, flow)
    scale = given[0].constant
    shift = given[1].constant if len(given) > 1 else torch.zeros((), dtype=torch.float64)
    numbers = shift.where(scale == 0, torch.nan).expand(value.shape)
    return Value(labels, flow.where(scale.expand(value.shape) != 0, torch.zeros(())), numbers)


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "group_norm": _group_norm,
}
"""By the name of an operation."""
