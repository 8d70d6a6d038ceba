"""The networks of ``step_time.py``, each with a batch of 100 examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pyro_vd.networks.ready import conv_classifier, lenet5, mlp

BATCH, CLASSES = 100, 10


class RowReader(nn.Module):
    """An LSTM that reads a row of the picture at a time."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(28, hidden, batch_first=True), nn.Linear(hidden, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x.flatten(1, 2))[0][:, -1])


def _resnet18() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(num_classes=CLASSES)


@dataclass(frozen=True)
class Setting:
    """A network and the shape of one input."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 28, 28)
    rounds: int = 200
    """Steps of each contender that are timed, for about as long as those of other networks."""

    def batch(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Random inputs and classes."""
        return torch.rand(BATCH, *self.shape, device=device), torch.randint(CLASSES, (BATCH,), device=device)


SETTINGS: dict[str, Setting] = {
    "784-300-10": Setting(partial(mlp, (784, 300, 10))),
    "784-300-100-10": Setting(partial(mlp, (784, 300, 100, 10))),
    "lenet5": Setting(lenet5, rounds=40),
    "3x1024": Setting(partial(mlp, (784, 1024, 1024, 1024, 10)), rounds=40),
    "small CIFAR net": Setting(partial(conv_classifier, (3, 32, 32)), (3, 32, 32), rounds=100),
    "LSTM 128": Setting(partial(RowReader, 128), rounds=40),
    "resnet18, 64 pixels": Setting(_resnet18, (3, 64, 64), rounds=5),
}
