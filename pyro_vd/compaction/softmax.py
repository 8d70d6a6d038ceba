"""Where scores become weights that sum to one: the softmax after a product of query and key, and before one with a value."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import operation
from pyro_vd.compaction.values import Value

_SOFTMAX = ("softmax", "_softmax")
_SAME = ("dropout", "to", "_to_copy", "float", "clone", "contiguous", "type_as", "detach", "alias")
_VIEWS = ("view", "reshape", "_unsafe_view")
_LEAST = -1e4
"""A score that is replaced by a smaller number than this one is masked: its weight is 0."""


def softmax_after(analysis: Analysis, node: fx.Node) -> int | None:
    """The axis, counted from the end, of a softmax that is all that scores are used for.

    Before it, the scores may be multiplied by a number, masks may be added to them, and some of them may be replaced by very
    small numbers. None where there is no such softmax.
    """
    while len(node.users) == 1:
        (user,) = node.users
        name = operation(user).rstrip("_")
        if name in _SOFTMAX:
            return _axis(user)
        if not _keeps_differences(analysis, node, user, name):
            return None
        node = user
    return None


def is_softmax(node: fx.Node, axis: int) -> bool:
    """Whether a tensor sums to one along an axis, counted from the end."""
    while (name := operation(node).rstrip("_")) in _SAME or (name in _VIEWS and axis == -1 and _same_end(node)):
        if not isinstance(before := node.args[0], fx.Node):
            return False
        node = before
    return name in _SOFTMAX and _axis(node) == axis


def _axis(node: fx.Node) -> int:
    given: Any = node.args[1] if len(node.args) > 1 else node.kwargs["dim"]
    rank = len(node.meta["val"].shape)
    return int(given) % rank - rank


def _keeps_differences(analysis: Analysis, scores: fx.Node, user: fx.Node, name: str) -> bool:
    """Whether what is added to all scores of a query is added, times a number, to all outputs of an operation."""
    if name in _SAME or (name in _VIEWS and _same_end(user)):
        return True
    others = [part for part in user.args if part is not scores]
    if name in ("add", "sub", "rsub"):
        return True
    if name in ("mul", "div", "true_divide"):
        return user.args[0] is scores and all(_is_number(part) for part in others)
    if name in ("masked_fill", "where"):
        return user.args[-1 if name == "masked_fill" else 0] is not scores and _is_low(analysis, others[-1])
    return False


def _same_end(node: fx.Node) -> bool:
    """Whether a view leaves the last axis as it is."""
    before: Any = node.args[0]
    return bool(before.meta["val"].shape[-1] == node.meta["val"].shape[-1])


def _is_number(part: Any) -> bool:
    return isinstance(part, int | float) or (isinstance(part, fx.Node) and part.meta["val"].numel() == 1)


def _is_low(analysis: Analysis, part: Any) -> bool:
    """Whether a number, or all of a known tensor, is very small."""
    if isinstance(part, int | float):
        return part <= _LEAST
    value = analysis.values.get(part)
    known: Tensor | None = value.constant if isinstance(value, Value) else None
    return known is not None and known.numel() > 0 and bool((known <= _LEAST).all())
