"""Copies of networks, including compiled ones and those that keep an activation of their last forward pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, cast

from torch import Tensor, nn


def copy_network(net: nn.Module, replaced: Mapping[int, Any] = MappingProxyType({})) -> nn.Module:
    """Make a deep copy that is not compiled. Tensors that belong to an autograd graph, which torch does not copy, are detached.

    Args:
        net: the network.
        replaced: what takes the place of objects in it, by their ``id``, wherever they are met; these are not copied.

    Raises:
        RuntimeError, TypeError: something else in the network cannot be copied.
    """
    copied = uncompiled_network(copy.deepcopy(uncompiled_network(net), detached_copies(net) | dict(replaced)))
    for module in copied.modules():
        for name, child in module._modules.items():
            if child is not None:
                module._modules[name] = uncompiled_network(child)
        if getattr(module, "_compiled_call_impl", None) is not None:
            module._compiled_call_impl = None
    return copied


def detached_copies(net: nn.Module) -> dict[int, Any]:
    """Detached copies, by ``id``, of the tensors in a network's attributes that belong to a graph: a memo for ``deepcopy``."""
    found = (tensor for module in net.modules() for tensor in _tensors(vars(module), depth=4))
    return {id(tensor): tensor.detach().clone() for tensor in found if not tensor.is_leaf}


def is_compiled(net: nn.Module) -> bool:
    """Whether ``torch.compile`` has made this module from another."""
    return type(net).__name__ == "OptimizedModule" and net._modules.get("_orig_mod") is not None


def uncompiled_network(net: nn.Module) -> nn.Module:
    """The module that ``torch.compile`` was given."""
    while is_compiled(net):
        net = cast(nn.Module, net._modules["_orig_mod"])
    return net


def _tensors(value: Any, depth: int) -> Iterator[Tensor]:
    """The tensors in nested dictionaries, lists, tuples and sets."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, dict | list | tuple | set):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item, depth - 1)
