"""A training on data in any form estimates the loss of all data: N / B is right for every form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loader_support import (
    Again,
    ByLabel,
    N,
    Named,
    Pairs,
    Stream,
    X,
    Y,
    dict_of,
    estimates,
    loader,
    mapped,
    trained,
    whole_loss,
)
from torch.utils.data import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from pyro_vd.data import ExampleBatches, LoaderBatches, TensorBatches

Form = tuple[Any, dict[str, Any]]
LISTED = list(zip(X.split(8), Y.split(8), strict=True))
WHOLE: dict[str, Callable[[], Form]] = {
    "tensors": lambda: ((X, Y), {"batch_size": 8}),
    "TensorDataset": lambda: (TensorDataset(X, Y), {"batch_size": 8}),
    "a part of one": lambda: (Subset(TensorDataset(X, Y), range(N)), {"batch_size": 8}),
    "examples": lambda: (Pairs(), {"batch_size": 8}),
    "named examples": lambda: (Named(), {"batch_size": 8}),
    "ExampleBatches": lambda: (ExampleBatches(Pairs(), 8), {}),
    "TensorBatches": lambda: (TensorBatches(X, Y, 8), {}),
    "loader": lambda: (loader(), {}),
    "shuffled": lambda: (loader(Pairs(), shuffle=True), {}),
    "workers": lambda: (loader(Pairs(), num_workers=2, shuffle=True), {}),
    "persistent workers": lambda: (loader(Pairs(), num_workers=1, persistent_workers=True), {}),
    "collated": lambda: (loader(Pairs(), collate_fn=dict_of), {"target": "y"}),
    "mappings": lambda: (loader(Named()), {}),
    "subset": lambda: (loader(sampler=SubsetRandomSampler(range(N))), {}),
    "batch sampler": lambda: (loader(batch_size=1, batch_sampler=ByLabel()), {}),
    "batches of the data set": lambda: (loader(batch_size=None, sampler=BatchSampler(SequentialSampler(Y), 8, False)), {}),
    "list": lambda: (LISTED, {"num_examples": N}),
    "LoaderBatches": lambda: (LoaderBatches(LISTED, N), {}),
    "without a length": lambda: (Again(), {"num_examples": N}),
    "arrays": lambda: ([(x.double().numpy(), y.tolist()) for x, y in LISTED], {"num_examples": N}),
    "stream": lambda: (Stream(), {"num_examples": N, "batch_size": 8}),
    "loader of a stream": lambda: (loader(Stream()), {"num_examples": N}),
    "going on": lambda: (Stream(), {"num_examples": N, "batch_size": 8, "steps_per_epoch": 4}),
}


@pytest.mark.parametrize("form", WHOLE)
def test_the_estimates_of_an_epoch_add_up_to_the_whole_loss(form: str) -> None:
    data, options = WHOLE[form]()
    if form == "batch sampler":
        data = torch.utils.data.DataLoader(Pairs(), batch_sampler=ByLabel())
    for each in range(2):
        found, n = estimates(data, epochs=2, **options)
        assert n == N
        half = found[len(found) // 2 :] if each else found[: len(found) // 2]
        assert sum(size for size, _ in half) == N
        assert sum(size / N * loss for size, loss in half) == pytest.approx(whole_loss(), rel=1e-6)


def test_a_memory_mapped_array(tmp_path: Path) -> None:
    found, n = estimates((mapped(tmp_path), Y.numpy()), batch_size=8)
    assert n == N
    assert sum(size / N * loss for size, loss in found) == pytest.approx(whole_loss(), rel=1e-6)


def test_a_data_set_of_hugging_face() -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"x": X.tolist(), "labels": Y.tolist()})
    streamed = data.to_iterable_dataset()
    for given, options in ((data, {}), (data.with_format("torch"), {}), (streamed, {"num_examples": N})):
        found, n = estimates(given, batch_size=8, **options)
        assert n == N
        assert sum(size / N * loss for size, loss in found) == pytest.approx(whole_loss(), rel=1e-6)


RANDOM: dict[str, Callable[[], Form]] = {
    "drop_last": lambda: (loader(shuffle=True, drop_last=True), {}),
    "with replacement": lambda: (loader(sampler=RandomSampler(Y, replacement=True, num_samples=40)), {}),
    "weighted": lambda: (loader(sampler=WeightedRandomSampler([1.0] * N, 16)), {}),
    "some of each epoch": lambda: (loader(sampler=RandomSampler(Y, num_samples=8)), {}),
    "steps": lambda: (loader(shuffle=True, drop_last=True), {"steps_per_epoch": 2}),
}


@pytest.mark.parametrize("form", RANDOM)
def test_estimates_from_random_parts_are_right_in_expectation(form: str) -> None:
    data, options = RANDOM[form]()
    found, n = estimates(data, epochs=150, **options)
    assert n == N
    losses = np.array([loss for _, loss in found])
    assert len(losses) >= 150
    assert abs(losses.mean() - whole_loss()) < 4 * losses.std() / len(losses) ** 0.5
    assert losses.std() < whole_loss() / 4, "or the bound says nothing"


def test_each_process_has_the_size_of_its_shard() -> None:
    total = 0.0
    for rank in range(2):
        sampler = DistributedSampler(TensorDataset(X, Y), 2, rank, seed=5)
        found, n = estimates(loader(sampler=sampler))
        assert n == N // 2
        assert sampler.epoch != 0, "set_epoch was called"
        total += sum(size / n * loss for size, loss in found)
    assert total == pytest.approx(whole_loss(), rel=1e-6)


def test_a_number_that_is_given_counts() -> None:
    found, n = estimates(loader(), num_examples=1000)
    assert n == 1000
    assert sum(size / N * loss for size, loss in found) == pytest.approx(1000 / N * whole_loss(), rel=1e-6)


def test_examples_are_drawn_in_the_order_of_tensors() -> None:
    expected = trained((X, Y), batch_size=8, validation=(X, Y))
    assert trained(Pairs(), batch_size=8, validation=(X, Y)) == expected
    assert trained(ExampleBatches(Named(), 8), validation=(X, Y)) == expected


def test_a_loader_leaves_all_generators_as_they_were() -> None:
    import random

    def drawn(data: Any) -> tuple[float, float, list[Any]]:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        parameters = trained(data)
        return random.random(), float(np.random.rand()), parameters  # noqa: NPY002

    plain, shuffled = loader(), loader(shuffle=True)
    assert drawn(plain)[:2] == drawn(shuffled)[:2]
    assert drawn(shuffled) == drawn(shuffled), "its order depends on the seed alone"
    assert trained(shuffled, seed=4) != trained(shuffled)
