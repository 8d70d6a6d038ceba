"""A batch of one example is refused before the training where batch normalisation could not take it, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, fit
from pyro_vd.guides import PointEstimate

LINEAR = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
SEQUENCE = nn.Conv1d(2, 4, 2), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(8, 3)
IMAGE = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3)


class Frozen(nn.BatchNorm1d):
    """Takes no statistics, even in training mode."""

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)


def training(layers: tuple[nn.Module, ...], shape: tuple[int, ...], n: int, batch_size: int) -> BayesianNetwork:
    model = BayesianNetwork(nn.Sequential(*layers))
    data: tuple[Tensor, Tensor] = torch.randn(n, *shape), torch.arange(n) % 3
    fit(PointEstimate(model), data, epochs=1, batch_size=batch_size, progress=False)
    return model


@pytest.mark.parametrize(
    ("layers", "shape", "n", "batch_size"),
    [(LINEAR, (6,), 21, 10), (LINEAR, (6,), 3, 1), (LINEAR, (6,), 1, 100), (IMAGE, (2, 3, 3), 21, 10)],
)
def test_refused(layers: tuple[nn.Module, ...], shape: tuple[int, ...], n: int, batch_size: int) -> None:
    with refuses("training data", 1, f"{n} examples", f"batch_size (={batch_size})", "BatchNorm"):
        training(layers, shape, n, batch_size)


@pytest.mark.parametrize(
    ("layers", "shape", "n", "batch_size"),
    [
        (LINEAR, (6,), 20, 10),
        (LINEAR, (6,), 22, 10),
        (SEQUENCE, (2, 3), 21, 10),
        (SEQUENCE, (2, 3), 3, 1),
        ((IMAGE[0], nn.Flatten(), nn.LayerNorm(4), IMAGE[-1]), (2, 3, 3), 21, 10),
        ((nn.Linear(6, 8), Frozen(8), nn.Linear(8, 3)), (6,), 21, 10),
    ],
)
def test_trained(layers: tuple[nn.Module, ...], shape: tuple[int, ...], n: int, batch_size: int) -> None:
    model = training(layers, shape, n, batch_size)
    assert not any(module._forward_pre_hooks for module in model.modules())
