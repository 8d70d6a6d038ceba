"""Many draws at a time, and their means."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Draws = dict[str, Tensor]
"""Tensors by name, draws in the first dimension."""


def each_draw(function: Callable[[Draws], Draws], draws: Draws) -> Draws:
    """``function`` of each draw, through ``torch.vmap``; draw by draw only where an operation in it does not allow that."""
    count = len(next(iter(draws.values())))
    if count > 1:
        try:
            with warnings.catch_warnings():  # what vmap does draw by draw inside is slower, and nothing that a user can change
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                result: Draws = torch.vmap(function, randomness="different")(draws)
            return result
        except RuntimeError:  # an operation that cannot be batched, or a branch on a value
            pass
    return stack([function({name: value[draw] for name, value in draws.items()}) for draw in range(count)])


def stack(draws: list[Draws]) -> Draws:
    """Single draws as one, their first dimension new."""
    return {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}


def join(parts: list[Draws], dim: int) -> Draws:
    """Parts that follow one another along a dimension, as one."""
    return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts], dim) for name in parts[0]}


class DrawMeans:
    """Means over draws that come some at a time, in float64; of what is called ``log_…`` the logarithm of the mean."""

    def __init__(self) -> None:
        self._sums: Draws = {}
        self._count = 0

    def add(self, draws: Draws) -> None:
        """Take some more draws, of the same names and shapes."""
        for name, value in draws.items():
            value = value.double()
            if name.startswith("log_"):
                found = value.logsumexp(0)
                self._sums[name] = found if not self._count else torch.logaddexp(self._sums[name], found)
            else:
                self._sums[name] = value.sum(0) + (self._sums[name] if self._count else 0)
        self._count += len(value)

    def means(self) -> Draws:
        """Of all draws taken, without their dimension."""
        count = self._count
        return {name: x - math.log(count) if name.startswith("log_") else x / count for name, x in self._sums.items()}
