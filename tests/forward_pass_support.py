"""A small data set, and a network with a forward pass that a test gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

X, Y = torch.randn(24, 6, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3


class Net(nn.Module):
    """Two layers; ``forward`` is what a test gives, and ``prepare`` what it does at construction."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], prepare: Callable[[Any], object] = lambda net: None) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)
        self.of = forward
        prepare(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.of(self, x)


def plainly(net: Any, x: Tensor) -> Tensor:
    return net.b(net.a(x).relu())
