"""Copies of networks, also of those that keep an activation of their last forward pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def copy_network(net: M) -> M:
    """A deep copy. Tensors in it that belong to a graph, which torch does not copy, come without that.

    Raises:
        RuntimeError, TypeError: something else in the network cannot be copied.
    """
    memo: dict[int, Any] = {}
    for module in net.modules():
        for tensor in _tensors(vars(module), depth=4):
            if not tensor.is_leaf:
                memo[id(tensor)] = tensor.detach().clone()
    return copy.deepcopy(net, memo)


def _tensors(value: Any, depth: int) -> Iterator[Tensor]:
    """The tensors in containers of the usual kinds."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, dict | list | tuple | set):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item, depth - 1)
