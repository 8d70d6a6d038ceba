"""A training draws from any object with the members of ``Batches``; tensors in memory are one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from pyro_vd import InputError, VariationalDropout, fit
from pyro_vd.data import Batches, TensorBatches
from pyro_vd.models import MLP
from pyro_vd.testing.interrupting import Interrupt

X, Y = torch.randn(26, 4, generator=torch.Generator().manual_seed(0)), torch.arange(26) % 3
OPTIONS: dict[str, Any] = {"epochs": 4, "lr": 0.05, "progress": False}


class Loaded:
    """A ``DataLoader`` as batches; nothing of pyro_vd is inherited."""

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, name: str = "26 rows") -> None:
        self.dataset, self.batch_size, self.name = TensorDataset(x, y), batch_size, name

    @property
    def num_examples(self) -> int:
        return len(self.dataset)

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        yield from DataLoader(self.dataset, self.batch_size, shuffle=True, generator=generator)

    def fingerprint(self) -> str:
        return self.name


class InMyOrder(Loaded):
    """Draws its order as tensors in memory do; a ``DataLoader`` draws more numbers from the generator."""

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(len(self.dataset), generator=generator).split(self.batch_size):
            yield self.dataset[rows]


def trained(train: Any, **options: Any) -> list[Any]:
    """The parameters after a training, and its losses."""
    torch.manual_seed(3)
    guide = VariationalDropout(MLP((4, 5, 3)), log_sigma2=-4.0)
    result = fit(guide, train, **{**OPTIONS, **options})
    assert guide.model.num_data == 26
    return [*(parameter.tolist() for parameter in guide.parameters()), *(record.loss for record in result.history)]


def test_batches_of_ones_own_train_as_the_arrays_do() -> None:
    own: Batches = InMyOrder(X, Y, 8)
    made: Batches = TensorBatches(X, Y, 8)
    assert isinstance(own, Batches)
    assert isinstance(made, Batches)
    assert not isinstance((X, Y), Batches)
    assert trained(own) == trained(made) == trained((X, Y), batch_size=8)
    assert trained(own) != trained(InMyOrder(X, Y, 9)), "its own size counts"


def test_a_data_loader_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    whole = trained(Loaded(X, Y, 8))
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "resume": True}
    with pytest.raises(KeyboardInterrupt):
        trained(Loaded(X, Y, 8), **files, callbacks=[Interrupt(2)])
    torch.manual_seed(9)
    assert trained(Loaded(X, Y, 8), **files) == whole
    with refuses(str(files["checkpoint"]), {"data": "26 rows"}, "others"):
        trained(Loaded(X, Y, 8, "others"), **files)


@pytest.mark.parametrize("batch_size", [1, 7, 13, 26, 100])
def test_tensors_are_drawn_once_per_epoch_in_the_generators_order(batch_size: int) -> None:
    batches = TensorBatches(X, Y, batch_size)
    drawn = list(batches.epoch(torch.Generator().manual_seed(5)))
    order = torch.randperm(26, generator=torch.Generator().manual_seed(5))
    assert len(drawn) == len(batches)
    assert all(len(x) == batch_size for x, _ in drawn[:-1])
    assert torch.equal(torch.cat([x for x, _ in drawn]), X[order])
    assert torch.equal(torch.cat([y for _, y in drawn]), Y[order])


DATA = "training data"
"""The name of what is trained on, in errors."""


class Broken(Loaded):
    """Says one thing and does another."""

    def __init__(self, steps: int = 4, first: Any = (X[:8], Y[:8])) -> None:
        super().__init__(X, Y, 8)
        self.steps, self.first = steps, first

    def __len__(self) -> int:
        return self.steps

    def epoch(self, generator: torch.Generator) -> Iterator[Any]:
        return iter([self.first] * 4)


@pytest.mark.parametrize(
    ("broken", "name", "value", "mentioned"),
    [
        (Broken(3), DATA, 4, ["len(batches)", "3"]),
        (Broken(5), DATA, 4, ["len(batches)", "5"]),
        (Broken(first=X[:8]), DATA, ANYTHING, ["Broken", "(8, 4)"]),
        (Broken(first=(X[:8, :3], Y[:8])), ANYTHING, ANYTHING, [DATA, "(3,)"]),
        (Broken(first=(X[:8], Y[:8] + 1)), ANYTHING, ANYTHING, [DATA, "label 3"]),
        (Broken(first=(X[:8] * torch.nan, Y[:8])), ANYTHING, ANYTHING, [DATA, "32 NaN"]),
        (Loaded(X[:0], Y[:0], 8), f"{DATA}: num_examples", 0, []),
    ],
)
def test_what_cannot_be_trained_on_is_refused(broken: Loaded, name: object, value: object, mentioned: list[str]) -> None:
    with refuses(name, value, *mentioned):
        trained(broken)


@pytest.mark.parametrize("batches", [Loaded(X, Y, 8), TensorBatches(X, Y, 8)])
def test_a_second_batch_size_is_refused(batches: Batches) -> None:
    with refuses("batch_size", 8):
        trained(batches, batch_size=8)


def test_batches_without_a_batch_are_refused() -> None:
    class Empty(Loaded):
        def __len__(self) -> int:
            return 0

    with refuses("Empty"):
        trained(Empty(X, Y, 8))


def test_a_subclass_of_tensor_batches_draws_as_it_says() -> None:
    class OnlyFirst(TensorBatches):
        def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
            for _ in range(len(self)):
                yield self.x[:1].expand(8, -1), self.y[:1].expand(8)

    assert trained(OnlyFirst(X, Y, 8)) != trained(TensorBatches(X, Y, 8))


def test_endless_batches_end_at_their_length() -> None:
    class Endless(Loaded):
        def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
            while True:
                yield X[:8], Y[:8]

    with pytest.raises(InputError) as caught:
        trained(Endless(X, Y, 8))
    assert caught.value.value == 5
