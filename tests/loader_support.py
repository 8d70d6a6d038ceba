"""Data in every form that is read batch by batch, all of the same 26 examples, and what a training makes of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from support import EachStep
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pyro_vd import BayesianNetwork, VariationalDropout, fit
from pyro_vd.guides import PointEstimate

N = 26
X, Y = torch.randn(N, 4, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 3


class Pairs(Dataset[Any]):
    """Examples as a user has them: arrays of float64, and whole numbers of Python."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        return X[index].double().numpy(), int(Y[index])


class Named(Pairs):
    """The same, by name."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return {"x": x, "target": y}


class Noisy(Pairs):
    """Examples that are changed at random, each time that they are read, with every generator there is."""

    def __getitem__(self, index: int) -> Any:
        return X[index] + torch.randn(4) + float(np.random.rand()) + random.random(), int(Y[index])  # noqa: NPY002


class Stream(IterableDataset[Any]):
    """The examples in their order, without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(list(zip(X, Y, strict=True)))


class Again:
    """Batches that can be iterated over again, without a length."""

    def __iter__(self) -> Iterator[Any]:
        return zip(X.split(8), Y.split(8), strict=True)


class ByLabel:
    """A batch sampler of one's own: the examples of each label."""

    def __iter__(self) -> Iterator[list[int]]:
        return iter([(label == Y).nonzero().flatten().tolist() for label in range(3)])

    def __len__(self) -> int:
        return 3


def dict_of(examples: list[Any]) -> dict[str, Any]:
    """A collate function that makes a mapping."""
    return {"x": torch.tensor(np.stack([x for x, _ in examples])), "y": torch.tensor([y for _, y in examples])}


def mapped(folder: Path) -> Any:
    """The inputs as a memory-mapped array, in another byte order."""
    path = folder / "x.npy"
    np.save(path, X.numpy().astype(">f4"))
    return np.load(path, mmap_mode="r")


SIZES: list[int] = []
"""The sizes of the batches that networks were given in training mode."""


class Net(nn.Module):
    """A linear network that takes its input by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            SIZES.append(len(x))
        return self.linear(x)


def net_of(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def estimates(data: Any, epochs: int = 1, **options: Any) -> tuple[list[tuple[int, float]], int]:
    """Estimates of the loss of all data, from a training that leaves the weights as they are.

    Returns:
        The size of each batch with its estimate, and N.
    """
    guide = PointEstimate(BayesianNetwork(net_of()))
    found: list[float] = []

    def take(state: Any) -> None:
        found.append(state.elbo.data_term.item())

    fit(guide, data, epochs=epochs, lr=1e-30, callbacks=[EachStep(take)], progress=False, **options)
    assert guide.model.num_data is not None
    return list(zip(SIZES[-len(found) :], found, strict=True)), guide.model.num_data


def whole_loss(x: Tensor = X, y: Tensor = Y) -> float:
    """The loss of these data under the weights of :func:`estimates`."""
    return F.cross_entropy(net_of()(x), y, reduction="sum").item()


def trained(data: Any, seed: int = 3, **options: Any) -> list[Any]:
    """The parameters after a training, and its losses and scores."""
    torch.manual_seed(seed)
    guide = VariationalDropout(BayesianNetwork(Net()), log_sigma2=-4.0)
    result = fit(guide, data, **{"epochs": 3, "lr": 0.05, "progress": False, **options})
    return [*(parameter.tolist() for parameter in guide.parameters()), *((r.loss, r.score) for r in result.history)]


def loader(dataset: Any = None, batch_size: Any = 8, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y) if dataset is None else dataset, batch_size, **options)
