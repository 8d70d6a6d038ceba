"""Networks with weights outside of layers that have a prior, of which sizes are counted."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.LSTM(12, 64, batch_first=True), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.rows(x)[0][:, -1])
        return scores


class Embedded(nn.Module):
    """Words as rounded inputs; ``tied`` reads them out with the matrix that they are embedded with."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(20, 6), nn.Linear(6, 20, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.words(x.abs().round().long().clamp(max=19)).mean(1))
        return scores


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.matrix = nn.Linear(5, 7), nn.Parameter(torch.randn(7, 3))
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x).relu() @ self.matrix * self.scale


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(5, 30), nn.Linear(30, 3)
        self.backbone.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(x).relu())
        return scores


class Branching(nn.Module):
    """Does something else for large inputs, which tracing cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        scores: Tensor = self.second(h if x.sum() > 100 else 2 * h)
        return scores
