"""Rules for convolutions and transposed convolutions, with groups or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.labels import Sources
from pyro_vd.compaction.rules_layers import product
from pyro_vd.compaction.values import Value


def _convolution(rank: int, transposed: bool) -> Callable[[Analysis, fx.Node, Any, Any], Any]:
    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
        given: list[Any] = [*args, *(None, 1, 0, *((0, 1, 1) if transposed else (1, 1)))[len(args) - 2 :]]
        value, weight, bias, _, padding, _, groups, *_ = given
        axis = len(value.shape) - rank - 1
        if weight.concrete is None or value.concrete is not None:
            return analysis.unknown(node, args, kwargs)
        into, out_of = _places(analysis, node, transposed) if groups > 1 else ({}, {})
        if transposed:
            weight = _outputs_first(weight, groups)
            weight = weight if groups == 1 or into else replace(weight, sources={})
        uniform = not transposed and padding != "same" and (padding == "valid" or not any(_numbers_in(padding)))
        return product(analysis, node, value, weight, bias, axis, uniform=uniform, groups=groups, into=into, out_of=out_of)

    return rule


def _numbers_in(padding: int | Sequence[int]) -> Sequence[int]:
    return [padding] if isinstance(padding, int) else padding


def _places(analysis: Analysis, node: fx.Node, transposed: bool) -> tuple[Sources, Sources]:
    """The places that inputs and outputs of a convolution with groups stand for; none if the weight is no whole parameter."""
    name = analysis.graph.names.get(cast(fx.Node, node.args[1]), "")
    if name not in analysis.places.parts:
        return {}, {}
    rows, columns = ({(name, dim): torch.arange(len(analysis.places.labels[name][dim]))} for dim in (0, 1))
    return (rows, columns) if transposed else (columns, rows)


def _outputs_first(weight: Value, groups: int) -> Value:
    """The weight of a transposed convolution as ``(outputs, inputs of a group, …)``."""

    def turned(tensor: Tensor) -> Tensor:
        return tensor.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)

    return weight.moved(turned)


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **{f"conv{rank}d": _convolution(rank, False) for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _convolution(rank, True) for rank in (1, 2, 3)},
}
"""By the name of an operation."""
