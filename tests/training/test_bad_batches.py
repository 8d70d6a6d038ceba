"""What is wrong with a batch is said in one sentence that names the batch and the epoch; nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loader_support import Again, N, Named, Net, Pairs, Stream, X, Y, loader, trained
from support import ANYTHING, refuses
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from pyro_vd import BayesianNetwork, InputError, VariationalDropout, fit
from pyro_vd.data import LoaderBatches
from pyro_vd.models import Bernoulli, Normal
from pyro_vd.testing.interrupting import Interrupt

OPTIONS: dict[str, Any] = {"epochs": 3, "progress": False}


class Changed:
    """Batches of which one, counted over all epochs, is another. Passes that read only the first batch do not count."""

    def __init__(self, number: int, change: Callable[[Tensor, Tensor], Any], y: Tensor = Y) -> None:
        self.number, self.change, self.y, self.epoch = number, change, y, -1

    def __iter__(self) -> Iterator[Any]:
        for k, (x, y) in enumerate(zip(X.split(8), self.y.split(8), strict=True), 1):
            self.epoch += k == 2
            yield self.change(x, y) if k > 1 and self.epoch * 4 + k == self.number else (x, y)

    def __len__(self) -> int:
        return 4


def third(tensor: Tensor, value: float) -> Tensor:
    return tensor.index_fill(0, torch.tensor(2), value)


FIRST, LATER = (3, "batch 3 of epoch 1"), (7, "batch 3 of epoch 2")
CHANGES: dict[str, tuple[tuple[int, str], Callable[[Tensor, Tensor], Any], tuple[str, ...]]] = {
    "NaN": (FIRST, lambda x, y: (third(x, torch.nan), y), ("4 NaN", "example 2")),
    "NaN later": (LATER, lambda x, y: (third(x, torch.nan), y), ("4 NaN", "example 2")),
    "infinite": (FIRST, lambda x, y: (third(x, torch.inf), y), ("4 NaN or infinite", "example 2")),
    "width": (FIRST, lambda x, y: (x[:, :3], y), ("(3,)",)),
    "width later": (LATER, lambda x, y: (x[:, :3], y), ("(3,)",)),
    "another dimension": (LATER, lambda x, y: (x[:, None, :3], y), ("(1, 3)",)),
    "label": (FIRST, lambda x, y: (x, third(y, 3)), ("label 3",)),
    "label later": (LATER, lambda x, y: (x, third(y, 3)), ("label 3",)),
    "negative label": (LATER, lambda x, y: (x, third(y, -1)), ("label -1",)),
    "fewer labels": (FIRST, lambda x, y: (x, y[:3]), ("8 inputs", "3 labels")),
    "fewer labels later": (LATER, lambda x, y: (x, y[:3]), ("8 inputs", "3 labels")),
    "no pair": (FIRST, lambda x, y: x, ("a pair",)),
    "no pair later": (LATER, lambda x, y: (x, y, y), ("a pair",)),
    "text": (FIRST, lambda x, y: ("text", y), ("str",)),
    "none": (LATER, lambda x, y: None, ("None",)),
    "another key": (FIRST, lambda x, y: {"x": x, "label": y}, ("'x', 'label'", "'target'", "'labels'")),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_batch_is_named(tmp_path: Path, case: str) -> None:
    (number, where), change, mentioned = CHANGES[case]
    path = tmp_path / "c.pt"
    with refuses(ANYTHING, ANYTHING, "training data", where, *mentioned):
        trained(Changed(number, change), num_examples=N, checkpoint=path)
    assert path.exists() == (number > 4), "the checkpoint of the epoch before stays"


def test_a_step_that_fails_for_another_reason_says_so() -> None:
    class Fails(Net):
        def forward(self, x: Tensor) -> Tensor:
            if self.training and len(x) == 2:
                raise RuntimeError("mine")
            return super().forward(x)

    guide = VariationalDropout(BayesianNetwork(Fails()))
    with pytest.raises(RuntimeError, match="mine") as caught:
        fit(guide, Changed(0, lambda x, y: x), num_examples=N, **OPTIONS)
    assert caught.value.__notes__ == ["It was raised in the step of training data, batch 4 of epoch 1."]


@pytest.mark.parametrize(("likelihood", "value"), [(Bernoulli(), 3.0), (Normal(), torch.inf)])
def test_observations_of_each_batch_of_the_first_epoch_are_checked(likelihood: Any, value: float) -> None:
    """A Bernoulli would take 3 without an error, and train on it."""
    guide = VariationalDropout(BayesianNetwork(nn.Linear(4, 1), likelihood))
    with refuses(ANYTHING, ANYTHING, "training data, batch 3 of epoch 1"):
        fit(guide, Changed(3, lambda x, y: (x, third(y, value)), (Y % 2).float()), num_examples=N, **OPTIONS)


def test_columns_and_types_are_those_that_the_likelihood_wants() -> None:
    def parameters(train: Any, **options: Any) -> list[Any]:
        torch.manual_seed(0)
        guide = VariationalDropout(BayesianNetwork(nn.Linear(4, 1), Normal()))
        fit(guide, train, **OPTIONS, **options)
        return [parameter.tolist() for parameter in guide.parameters()]

    y = torch.linspace(0, 1, N)
    columns = [(x.double(), part.double()[:, None]) for x, part in zip(X.split(8), y.split(8), strict=True)]
    plain = list(zip(X.split(8), y.split(8), strict=True))
    assert parameters(columns, num_examples=N) == parameters(plain, num_examples=N)


class Empty:
    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 4


class Long(Again):
    """Says another number of batches than it gives."""

    def __len__(self) -> int:
        return 5


class Short(Again):
    def __len__(self) -> int:
        return 3


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield X[0], Y[0]


class Unreadable(Pairs):
    def __getitem__(self, index: int) -> Any:
        if index == 17:
            raise OSError("disk")
        return super().__getitem__(index)


class Ragged(Pairs):
    def __getitem__(self, index: int) -> Any:
        return X[index, : 1 + index % 4], int(Y[index])


class Nothing(Dataset[Any]):
    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Any:
        raise IndexError(index)


GIVEN: dict[str, tuple[Callable[[], Any], dict[str, Any], tuple[Any, ...]]] = {
    "nothing": (Empty, {"num_examples": N}, ("Empty", "no batch")),
    "nothing in steps": (Empty, {"num_examples": N, "steps_per_epoch": 2}, ("Empty", "no batch")),
    "no example": (Nothing, {}, ("num_examples", 0)),
    "fewer batches": (Long, {"num_examples": N}, ("epoch 1 gave 4 batches", 5)),
    "more batches": (Short, {"num_examples": N}, ("epoch 1", "3")),
    "fewer examples": (Again, {"num_examples": 27}, (26, 27)),
    "more examples": (Again, {"num_examples": 25}, ("more than 25", 25)),
    "endless": (Endless, {"num_examples": 30}, ("more than 30", 30)),
    "no number": (Again, {"steps_per_epoch": 3}, ("num_examples", "Again")),
    "no number of a stream": (Stream, {}, ("num_examples", "DataLoader")),
    "once": (lambda: iter(Again()), {"num_examples": N}, ("zip", "again")),
    "a generator": (lambda: (pair for pair in Again()), {"num_examples": N}, ("generator", "again")),
    "batch_size": (loader, {"batch_size": 8}, ("batch_size", "DataLoader")),
    "target of a pair": (lambda: (X, Y), {"target": "y"}, ("target", "'y'")),
    "steps of a pair": (lambda: (X, Y), {"steps_per_epoch": 2}, ("steps_per_epoch",)),
    "number of a pair": (lambda: (X, Y), {"num_examples": 2}, ("num_examples",)),
    "number below 1": (Again, {"num_examples": 0}, ("num_examples", 0)),
    "part of a step": (loader, {"steps_per_epoch": 1.5}, ("steps_per_epoch", 1.5)),
    "unknown target": (lambda: loader(Named()), {"target": "tarjet"}, ("'x', 'target'", "'tarjet'", "did you mean 'target'")),
    "unknown target of examples": (Named, {"target": "y"}, ("'x', 'target'", "'y'")),
    "unreadable": (Unreadable, {"batch_size": 8}, ("example 17", "disk", "of epoch 1")),
    "unreadable in a worker": (lambda: loader(Unreadable(), num_workers=1), {}, ("batch 3 of epoch 1", "disk")),
    "ragged": (Ragged, {"batch_size": 8}, ("one shape", "collate_fn")),
    "ragged in a loader": (lambda: loader(Ragged()), {}, ("the first batch", "stack expects each tensor to be equal size")),
    "splits": (lambda: {"train": Pairs()}, {}, ("dict",)),
    "its own numbers": (lambda: LoaderBatches(Again(), N), {"num_examples": 3}, ("num_examples", "LoaderBatches")),
}


@pytest.mark.parametrize("case", GIVEN)
def test_what_cannot_be_read_is_refused(case: str) -> None:
    make, options, mentioned = GIVEN[case]
    with refuses(ANYTHING, ANYTHING, *mentioned):
        trained(make(), **options)


def test_a_worker_that_dies(tmp_path: Path) -> None:
    class Deadly(Pairs):
        def __getitem__(self, index: int) -> Any:
            if index == 17 and (tmp_path / "c.pt").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    path = tmp_path / "c.pt"
    with pytest.raises(InputError, match=r"training data, batch \d of epoch 2: a worker process of the loader died") as caught:
        trained(loader(Deadly(), num_workers=1, prefetch_factor=1), checkpoint=path)
    assert "\n" not in str(caught.value)
    assert path.exists()


def test_a_last_batch_of_one_is_seen_before_the_first_step() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    for data, options in ((loader(batch_size=5), {}), (Pairs(), {"batch_size": 5})):
        guide = VariationalDropout(BayesianNetwork(net))
        with refuses(ANYTHING, 1, "BatchNorm1d"):
            fit(guide, data, **OPTIONS, **options)


def test_an_interruption_is_none_of_these() -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(loader(), callbacks=[Interrupt(1)])


def test_held_out_batches_are_named() -> None:
    for data in (Changed(3, lambda x, y: (x, third(y, 3))), Changed(7, lambda x, y: (third(x, np.nan), y))):
        with refuses(ANYTHING, ANYTHING, "validation data, batch 3"):
            trained((X, Y), validation=data)
