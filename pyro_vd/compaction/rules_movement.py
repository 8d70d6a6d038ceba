"""Rules for operations that only move entries: the same operation is carried out on labels, constants and marks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from pyro_vd.compaction import rules_creation, rules_joins, rules_parts
from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.labels import varying
from pyro_vd.compaction.values import Value


def _move(function: Callable[..., Any]) -> Callable[[Analysis, fx.Node, Any, Any], Any]:
    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
        value, *rest = args
        return value.moved(lambda tensor: function(tensor, *rest, **kwargs))

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


def _nothing(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> None:
    """The rule for a check that gives no tensor."""


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), _move(torch.reshape)),
    **rules_parts.RULES,
    **rules_joins.RULES,
    **rules_creation.RULES,
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
    **dict.fromkeys(("contiguous", "clone", "alias", "detach", "to", "_to_copy", "type_as", "lift_fresh_copy", "float"), _same),
    "_assert_tensor_metadata": _nothing,
    "dropout": _dropout,
    **dict.fromkeys(("alpha_dropout", "feature_dropout", "feature_alpha_dropout"), _dropout),
}
"""By the name of an operation, with parts, joins and new tensors; the numbers that these are given are sizes or axes."""
