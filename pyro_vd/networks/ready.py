"""Ready networks of the literature, as ordinary PyTorch modules."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from pyro_vd._core.arguments import check_rate
from pyro_vd._core.errors import InputError


def mlp(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Make a fully connected ReLU network. It flattens its input to ``(batch, sizes[0])`` and returns ``(batch, sizes[-1])``.

    Args:
        sizes: numbers of units per layer, from the input to the output; at least two, each at least 1.
        dropout: rate of ordinary dropout on the hidden units, in [0, 1).

    Raises:
        InputError: fewer than two sizes, a size below 1, or a rate out of range.
    """
    dropout = check_rate("dropout", dropout)
    if len(sizes) < 2 or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise InputError(name="sizes", value=list(sizes), allowed="at least two integers, each at least 1: input, …, output")
    layers: list[nn.Module] = [nn.Flatten()]
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        if index:
            layers += [nn.ReLU(), nn.Dropout(dropout)] if dropout else [nn.ReLU()]
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)
