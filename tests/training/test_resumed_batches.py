"""A training on data that are read batch by batch goes on from a checkpoint bit for bit."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loader_support import N, Noisy, Pairs, Stream, X, Y, loader, mapped, trained
from support import ANYTHING, refuses
from torch import Tensor
from torch.utils.data import IterableDataset, RandomSampler, TensorDataset

from pyro_vd.data import ExampleBatches, LoaderBatches
from pyro_vd.testing.interrupting import Interrupt


class Rotating:
    """A loader with a state of its own: every pass starts at the next example."""

    def __init__(self) -> None:
        self.start = 0

    def __iter__(self) -> Iterator[Any]:
        order = torch.arange(self.start, self.start + N) % N
        self.start += 1
        return zip(X[order].split(8), Y[order].split(8), strict=True)

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start = state["start"]


class NoisyStream(Stream):
    """A stream that changes its examples at random."""

    def __iter__(self) -> Iterator[Any]:
        for x, y in super().__iter__():
            yield x + torch.randn(4) + random.random() + float(np.random.rand()), y  # noqa: NPY002


def own(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stateful(*args: Any, **options: Any) -> Any:
    module = pytest.importorskip("torchdata.stateful_dataloader")
    with warnings.catch_warnings():  # torchdata calls what newer versions of torch deprecate
        warnings.filterwarnings("ignore", "'set_vital' is deprecated", UserWarning)
        return module.StatefulDataLoader(*args, **options)


def hugging_face() -> Any:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"x": X.tolist(), "labels": Y.tolist()})
    return data.to_iterable_dataset(num_shards=2).shuffle(seed=1, buffer_size=5)


STEPS: dict[str, Any] = {"num_examples": N, "steps_per_epoch": 3}
FORMS: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "examples": lambda: (ExampleBatches(Noisy(), 8), {}),
    "shuffled": lambda: (loader(Noisy(), shuffle=True), {}),
    "workers": lambda: (loader(Noisy(), shuffle=True, num_workers=2), {}),
    "persistent workers": lambda: (loader(Noisy(), shuffle=True, num_workers=2, persistent_workers=True), {}),
    "own generator": lambda: (loader(Noisy(), shuffle=True, generator=own(7)), {}),
    "own generator and workers": lambda: (loader(Noisy(), shuffle=True, generator=own(7), num_workers=2), {}),
    "a sampler's generator": lambda: (loader(Noisy(), sampler=RandomSampler(Y, generator=own(8))), {}),
    "going on": lambda: (loader(Noisy(), shuffle=True), {"steps_per_epoch": 3}),
    "going on with workers": lambda: (loader(Noisy(), shuffle=True, num_workers=2), {"steps_per_epoch": 3}),
    "stream": lambda: (NoisyStream(), {**STEPS, "batch_size": 8}),
    "loader of a stream": lambda: (loader(NoisyStream(), num_workers=1), STEPS),
    "state": lambda: (Rotating(), {"num_examples": N}),
    "StatefulDataLoader": lambda: (stateful(Noisy(), 8, shuffle=True), {}),
    "StatefulDataLoader, workers": lambda: (stateful(Noisy(), 8, shuffle=True, num_workers=2), {}),
    "StatefulDataLoader, generator": lambda: (stateful(Noisy(), 8, shuffle=True, generator=own(7), num_workers=1), {}),
    "StatefulDataLoader, steps": lambda: (stateful(Pairs(), 8, shuffle=True), {"steps_per_epoch": 3}),
    "StatefulDataLoader, steps and noise": lambda: (stateful(Noisy(), 8, shuffle=True), {"steps_per_epoch": 3}),
    "StatefulDataLoader, steps and workers": lambda: (
        stateful(Pairs(), 8, shuffle=True, num_workers=2),
        {"steps_per_epoch": 3},
    ),
    "Hugging Face": lambda: (hugging_face(), {**STEPS, "batch_size": 8}),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_resumed_bit_for_bit(tmp_path: Path, form: str) -> None:
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "resume": True, "epochs": 4}
    data, options = FORMS[form]()
    whole = trained(data, **options, epochs=4)
    data, options = FORMS[form]()
    with pytest.raises(KeyboardInterrupt):
        trained(data, **options, **files, callbacks=[Interrupt(2)])
    data, options = FORMS[form]()
    assert trained(data, seed=9, **options, **files) == whole
    assert trained(FORMS[form]()[0], seed=9, **options, epochs=4) != whole, "the seed counts"


def test_other_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    others: list[tuple[Any, dict[str, Any]]] = [
        (loader(TensorDataset(X + 1, Y)), {}),
        (loader(TensorDataset(X[:-1], Y[:-1])), {}),
        (loader(batch_size=9), {}),
        (loader(), {"steps_per_epoch": 4}),
        (loader(), {"num_examples": 30}),
        (TensorDataset(X, Y), {"batch_size": 8}),
    ]
    trained(loader(), checkpoint=path)
    before = path.read_bytes()
    for data, options in others:
        with refuses(str(path), ANYTHING, "data"):
            trained(data, **options, checkpoint=path, resume=True)
    assert path.read_bytes() == before
    trained(loader(), checkpoint=path, resume=True)
    trained(Pairs(), batch_size=8, checkpoint=path)
    with refuses(str(path), ANYTHING, "batch_size"):
        trained(Pairs(), batch_size=9, checkpoint=path, resume=True)


def test_data_on_disk_are_identified_without_reading_them(tmp_path: Path) -> None:
    """Three examples are read, each twice."""
    read: list[int] = []

    class Counted(Pairs):
        def __getitem__(self, index: int) -> Any:
            read.append(index)
            return super().__getitem__(index)

    batches = [ExampleBatches(Counted()), LoaderBatches(loader(Counted()))]
    for each in batches:
        read.clear()
        assert each.fingerprint() == each.fingerprint()
        assert read == 4 * [0, N // 2, N - 1]
    found = ExampleBatches(Pairs()).fingerprint()
    assert found != ExampleBatches(TensorDataset(X, Y)).fingerprint()
    assert mapped(tmp_path)[:2].shape == (2, 4)


def test_random_examples_do_not_count() -> None:
    """Those that another generator has changed are other ones in each process."""

    class Unseeded(Pairs):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return X[index] + float(np.random.default_rng().random()), int(Y[index])

    assert ExampleBatches(Unseeded()).fingerprint() == ExampleBatches(Unseeded()).fingerprint()


def test_a_state_that_no_checkpoint_can_hold_is_named(tmp_path: Path) -> None:
    class Strange(Rotating):
        def state_dict(self) -> dict[str, Any]:
            return {"start": self}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    with refuses("state_dict", ANYTHING, "Strange"):
        trained(Strange(), num_examples=N, checkpoint=tmp_path / "c.pt")


def test_passes_end_within_an_epoch() -> None:
    """Three steps are 24 of 26 examples: the second epoch starts with the last two."""

    class Counting(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([(torch.full((4,), float(k)), 0) for k in range(N)])

    batches = LoaderBatches(loader(Counting()), N, 3)
    generator = torch.Generator().manual_seed(0)
    epochs = [[x[:, 0].tolist() for x, _ in batches.epoch(generator)] for _ in range(2)]
    assert [each for epoch in epochs for batch in epoch for each in batch] == [*map(float, range(N)), *map(float, range(16))]
