"""Functions of several draws at a time, and means over draws."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Draws = dict[str, Tensor]
"""Tensors by name; the first dimension is that of the draws."""
EACH = "each_"
"""The start of names of tensors of which every draw is kept, instead of a mean."""


def each_draw(function: Callable[[Draws], Draws], draws: Draws) -> Draws:
    """Apply ``function`` to each draw with ``torch.vmap``, or in a loop if one of its operations does not support vmap."""
    count = len(next(iter(draws.values())))
    if count > 1:
        try:
            with warnings.catch_warnings():  # of operations that vmap runs in a loop, which a user cannot change
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                result: Draws = torch.vmap(function, randomness="different")(draws)
            return result
        except RuntimeError:  # an operation that cannot be batched, or a branch on a value
            pass
    return stack([function({name: value[draw] for name, value in draws.items()}) for draw in range(count)])


def stack(draws: list[Draws]) -> Draws:
    """Stack single draws along a new first dimension."""
    if len(draws) == 1:
        return {name: value[None] for name, value in draws[0].items()}  # all weights of a large network: no copy
    return {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}


def join(parts: list[Draws], dim: int) -> Draws:
    """Concatenate consecutive parts along a dimension."""
    return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts], dim) for name in parts[0]}


class DrawMeans:
    """Means in float64 over draws that are added in parts; for names ``log_…``, the logarithm of the mean of exp.

    For names ``each_…`` there is no mean: all draws are kept, in a first dimension.
    """

    def __init__(self) -> None:
        self._sums: Draws = {}
        self._each: dict[str, list[Tensor]] = {}
        self._count = 0

    def add(self, draws: Draws) -> None:
        """Add further draws of the same names and shapes, the draws in the first dimension."""
        for name, value in draws.items():
            value = value.double()
            if name.startswith(EACH):
                self._each.setdefault(name, []).append(value)
            elif name.startswith("log_"):
                found = value.logsumexp(0)
                self._sums[name] = found if not self._count else torch.logaddexp(self._sums[name], found)
            else:
                self._sums[name] = value.sum(0) + (self._sums[name] if self._count else 0)
        self._count += len(value)

    def means(self) -> Draws:
        """Return the means over all draws, without the dimension of the draws; and all draws of names ``each_…``."""
        count = self._count
        means = {name: x - math.log(count) if name.startswith("log_") else x / count for name, x in self._sums.items()}
        return means | {name: torch.cat(parts) for name, parts in self._each.items()}
