"""Rules for new tensors of one number, in sizes of their own or in those of other tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.values import Value, known, unknown


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


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **dict.fromkeys(("zeros", "new_zeros"), _zeros),
    "zeros_like": _zeros_like,
    **dict.fromkeys(("ones_like", "new_ones", "new_full", "full_like"), _data),
}
"""By the name of an operation."""
