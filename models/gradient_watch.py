"""A look at the first backward passes: weights that no gradient of the data reaches are named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from pyro_vd.inference.lazy_weight import LazyWeight

logger: logging.Logger = logging.getLogger(__name__)

LOOKS = 5
"""Backward passes to look at. A gain that starts at 0 makes some gradients 0 at the first steps only."""


class GradientWatch:
    """Watches gradients that arrive at the weights of a network until every site has had one that is not 0.

    Args:
        sites: the names of the weights.
    """

    def __init__(self, sites: Iterable[str]) -> None:
        self._waiting = dict.fromkeys(sites, "no gradient")
        self._looks, self._last = 0, -1

    def over(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights of a forward pass, their gradients watched; after :data:`LOOKS` backward passes, the message."""
        if self._looks >= LOOKS:
            self.report()
        if not self._waiting:
            return weights
        return {name: _watched(weight, partial(self._arrived, name)) for name, weight in weights.items()}

    def through(self, output: Tensor) -> None:
        """The output of that forward pass: its gradient tells of the backward pass."""
        if self._waiting and output.requires_grad:
            output.register_hook(self._look)
        elif self._waiting:
            self._looks += 1

    def report(self) -> None:
        """Name the sites that no gradient has reached so far; at most once."""
        if self._waiting and self._looks > 1:
            listed = ", ".join(f"{name} ({what})" for name, what in self._waiting.items())
            logger.warning(
                "in the first %d backward passes no gradient of the data has reached these weights, only that of their KL: %s. "
                "Does the network use them, and through its own modules?",
                self._looks,
                listed,
            )
        self._waiting = {}

    def _look(self, _: Tensor) -> None:
        backward = torch._C._current_graph_task_id()  # one for all the forward passes that a loss is made of
        self._looks += backward != self._last
        self._last = backward

    def _arrived(self, name: str, gradient: Tensor) -> None:
        if name in self._waiting:
            if bool(gradient.any()):
                del self._waiting[name]
            else:
                self._waiting[name] = "gradient 0"


def _watched(weight: Tensor, arrived: Callable[[Tensor], None]) -> Tensor:
    def alias(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        other = tensor.view_as(tensor)
        other.register_hook(arrived)
        return other

    return weight.over(alias) if isinstance(weight, LazyWeight) else alias(weight)
