"""What a backward pass needs that runs parts of the network again, as activation checkpointing does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution


def is_recomputing() -> bool:
    """Whether this thread runs a backward pass, so that a forward computation is one that activation checkpointing repeats."""
    return torch._C._current_graph_task_id() != -1


def cut_off(tensor: Tensor) -> Tensor:
    """Return a leaf with the values of ``tensor``; a gradient that reaches the leaf is passed on to ``tensor`` immediately.

    Reentrant checkpointing runs a part of the network again inside the backward pass, with a nested backward pass. That pass
    would free the graph of ``tensor``, which the KL and other such parts still need.
    """
    if tensor.is_leaf or not tensor.requires_grad:
        return tensor
    alias = tensor.detach().requires_grad_()

    def pass_on(leaf: Tensor) -> None:
        torch.autograd.backward(tensor, leaf.grad, retain_graph=True)

    alias.register_post_accumulate_grad_hook(pass_on)
    return alias


def over_tensors(distribution: Any, parameters: Callable[[Tensor], Tensor]) -> Any:
    """Return a copy of a distribution, with ``parameters`` applied to its floating-point tensors."""
    copied = copy.copy(distribution)
    for name, value in vars(copied).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            vars(copied)[name] = parameters(value)
        elif isinstance(value, Distribution):
            vars(copied)[name] = over_tensors(value, parameters)
    return copied
