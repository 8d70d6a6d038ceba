"""The plain networks of the literature, as ``nn.Sequential``: nothing of Pyro in them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from pyro_vd.errors import InputError


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Fully connected ReLU network; any input is flattened to ``(batch, sizes[0])``, the output is ``(batch, sizes[-1])``.

    Args:
        sizes: numbers of units, input first, output last; at least two, each at least 1.

    Raises:
        InputError: fewer than two sizes, or one below 1.
    """
    if len(sizes) < 2 or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise InputError(f"sizes (={list(sizes)!r}) must be at least two integers, each at least 1: input, …, output")
    layers: list[nn.Module] = [nn.Flatten()]
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers += [nn.ReLU()] if index else []
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)
