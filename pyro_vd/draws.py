"""Many draws at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Draws = dict[str, Tensor]
"""Tensors by name, draws in the first dimension."""

DRAWS, ROWS = 16, 256
"""Draws and examples at a time: larger ones are no faster and take more memory."""


def each_draw(function: Callable[[Draws], Draws], draws: Draws) -> Draws:
    """``function`` of each draw, through ``torch.vmap``; draw by draw only where an operation in it does not allow that."""
    try:
        result: Draws = torch.vmap(function, randomness="different")(draws)
    except RuntimeError:  # an operation without a batching rule, or a branch on a value
        count = len(next(iter(draws.values())))
        result = stack([function({name: value[draw] for name, value in draws.items()}) for draw in range(count)])
    return result


def stack(draws: list[Draws]) -> Draws:
    """Single draws as one, their first dimension new."""
    return {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}


def chunks(num_samples: int) -> list[int]:
    """How many draws to take at a time."""
    return [min(DRAWS, num_samples - start) for start in range(0, num_samples, DRAWS)]
