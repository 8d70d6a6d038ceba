"""A watch on the first backward passes, which names the weights that no gradient of the data reaches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyro_vd.inference.lazy_weight import LazyWeight
from pyro_vd.networks.inputs import tensors_in

logger: logging.Logger = logging.getLogger(__name__)

LOOKS = 5
"""The number of backward passes to watch; more than one, because a gain that starts at 0 makes the first gradients 0."""


class GradientWatch:
    """A watch on the gradients of a network's weights, until every site has received a gradient that is not 0.

    Args:
        sites: the names of the weights.
    """

    def __init__(self, sites: Iterable[str]) -> None:
        self._waiting = dict.fromkeys(sites, "no gradient")
        self._looks, self._last = 0, -1

    @property
    def is_waiting(self) -> bool:
        """Whether there is a site that no gradient has reached yet, and that was not reported."""
        return bool(self._waiting)

    def over(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weights of a forward pass with their gradients watched; report after :data:`LOOKS` backward passes."""
        if self._looks >= LOOKS:
            self.report()
        if not self._waiting:
            return weights
        return {name: _watched(weight, partial(self._arrived, name)) for name, weight in weights.items()}

    def through(self, output: Any) -> None:
        """Watch the output of the same forward pass, in any form, whose gradient marks a backward pass."""
        if not self._waiting:
            return
        learnt = [tensor for tensor in tensors_in(output) if tensor.requires_grad]
        for tensor in learnt:
            tensor.register_hook(self._look)
        self._looks += not learnt

    def end(self) -> None:
        """Stop watching, without a message."""
        self._waiting = {}

    def report(self) -> None:
        """Log the sites that no gradient has reached so far, and stop watching."""
        if self._waiting and self._looks > 1:
            listed = ", ".join(f"{name} ({what})" for name, what in self._waiting.items())
            logger.warning(
                "in the first %d backward passes no gradient of the data has reached these weights, only that of their KL: %s. "
                "Check that the forward pass uses them, and through the network's own modules",
                self._looks,
                listed,
            )
        self.end()

    def _look(self, _: Tensor) -> None:
        backward = torch._C._current_graph_task_id()  # the same for all forward passes that contribute to one loss
        self._looks += backward != self._last
        self._last = backward

    def _arrived(self, name: str, gradient: Tensor) -> None:
        if name in self._waiting:
            if bool(gradient.any()):
                del self._waiting[name]
            else:
                self._waiting[name] = "gradient 0"


def _watched(weight: Tensor, arrived: Callable[[Tensor], None]) -> Tensor:
    """Return a view of a weight that passes its gradient to ``arrived``."""

    def alias(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        other = tensor.view_as(tensor)
        other.register_hook(arrived)
        return other

    return weight.over(alias) if isinstance(weight, LazyWeight) else alias(weight)
