"""Several processes train as one: the same mathematics, the same parameters to the bit, and files of rank 0 alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from process_support import Group, group_of
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from pyro_vd import BayesianNetwork, KLWeight, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.data import ExampleBatches
from pyro_vd.models import MLP
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.training import Callback, EarlyStopping, MetricsLog, TrainingState

N = 23
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(N) % 3
SGD = partial(torch.optim.SGD, lr=1e-4, momentum=0.9)


@pytest.fixture(scope="module")
def two() -> Iterator[Group]:
    with group_of(2) as group:
        yield group


@pytest.fixture(scope="module")
def three() -> Iterator[Group]:
    with group_of(3) as group:
        yield group


def vector(guide: VariationalDropout) -> Tensor:
    return torch.cat([p.detach().flatten() for module in (guide, guide.model) for p in module.parameters()])


def quiet_guide(seed: int) -> VariationalDropout:
    """In float64 and without noise: the variances are too small, and of their KL only the gradient stays."""
    torch.manual_seed(seed)
    return VariationalDropout(MLP((4, 6, 3)).double(), -60.0)


def trained(rank: int, data: Any = (X, Y), **options: Any) -> tuple[Tensor, list[Any]]:
    """Another initialisation on every rank: that of rank 0 counts."""
    guide = quiet_guide(1 + rank)
    settings = {"epochs": 3, "optimizer": SGD, "progress": False, **options}
    if "epochs" not in options and "checkpoint" not in options:
        settings["validation"] = (X, Y)
    result = fit(guide, data, **settings)
    return vector(guide), [replace(record, seconds=0) for record in result.history]


SETTINGS: dict[str, dict[str, Any]] = {
    "all at once": {"batch_size": N},
    "a last batch of one": {"batch_size": 11},
    "a last batch of two": {"batch_size": 7},
    "accumulated": {"batch_size": 5, "accumulate": 3},
    "accumulated, the last of one": {"batch_size": 2, "accumulate": 4},
    "clipped": {"batch_size": 8, "max_grad_norm": 0.01},
    "warm-up": {"batch_size": 8, "kl_weight": KLWeight(2.0, end=2), "kl_weights": {"1.weight": 0.1}},
    "particles": {"batch_size": 8, "num_particles": 2},
    "plateau": {"batch_size": 8, "scheduler": partial(ReduceLROnPlateau, patience=0)},
    "threshold": {"batch_size": 8, "train_threshold": 3.0, "restore_best": True},
    "Adam": {"batch_size": 8, "optimizer": None, "lr": 1e-3},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_several_processes_train_as_one(two: Group, case: str) -> None:
    alone, history = trained(0, **SETTINGS[case])
    (first, of_first), (second, of_second) = two.call(trained, **SETTINGS[case])
    assert torch.equal(first, second)
    assert of_first == of_second
    torch.testing.assert_close(first, alone, rtol=1e-6, atol=1e-7)
    for one, other in zip(of_first, history, strict=True):
        for key in ("loss", "data_term", "kl", "kl_weight", "lr", "score"):
            assert getattr(one, key) == pytest.approx(getattr(other, key), rel=1e-5), key


def test_a_weight_of_the_kl_that_is_controlled_is_the_same_in_all_processes(two: Group) -> None:
    settings: dict[str, Any] = {"batch_size": 8, "kl_weight": KLWeight(target=3), "rule": -1.0}
    _, alone = trained(0, **settings)
    (first, of_first), (second, of_second) = two.call(trained, **settings)
    assert torch.equal(first, second)
    assert of_first == of_second
    assert [each.kl_weight for each in of_first] == pytest.approx([each.kl_weight for each in alone], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_the_gradient_of_a_step_is_that_of_all_examples(request: pytest.FixtureRequest, size: int) -> None:
    """Gradient descent at the rate 1 moves the parameters by it; 23 examples are no multiple of 2 or 3."""
    options: dict[str, Any] = {"epochs": 1, "batch_size": N, "optimizer": partial(torch.optim.SGD, lr=1.0)}
    start = vector(quiet_guide(1))
    expected = trained(0, **options)[0] - start
    group: Group = request.getfixturevalue("two" if size == 2 else "three")
    for parameters, _ in group.call(trained, **options):
        gradient = parameters - start
        assert float((gradient - expected).norm() / expected.norm()) < 1e-6


class Watch(Callback):
    """Notes the generator of the noise and the parameters at every step, in every process."""

    in_every_process = True

    def __init__(self) -> None:
        self.noise: list[list[int]] = []
        self.parameters: list[Tensor] = []

    def on_step(self, state: TrainingState) -> None:
        self.noise.append(torch.get_rng_state().tolist())
        self.parameters.append(vector(state.guide))  # type: ignore[arg-type]


def noisy(rank: int, dropout: float = 0.2) -> VariationalDropout:
    torch.manual_seed(5)  # the same in all processes, as a user's script has it
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)).double()
    return VariationalDropout(BayesianNetwork(net))


def watched(rank: int) -> tuple[Watch, list[list[float]], float]:
    guide, watch = noisy(rank), Watch()
    fit(guide, (X, Y), epochs=5, batch_size=6, lr=0.01, progress=False, callbacks=[watch])
    buffers = [buffer.tolist() for buffer in guide.model.buffers()]
    return watch, buffers, float(torch.rand(()))


def test_twenty_steps_with_noise_stay_equal_to_the_bit(two: Group) -> None:
    (first, buffers, drawn), (second, same, also) = two.call(watched)
    assert len(first.parameters) == 20
    for one, other in zip(first.parameters, second.parameters, strict=True):
        assert torch.equal(one, other)
    assert all(one != other for one, other in zip(first.noise, second.noise, strict=True)), "noise of their own"
    assert buffers == same, "running statistics too"
    assert drawn == also, "the generators are the same again"


class Seen(nn.Module):
    """Notes the numbers of the examples, their first input, in every training step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps.append(x[:, 0].tolist())
        return x / 24


NUMBERED = torch.arange(24.0)[:, None].repeat(1, 4), torch.arange(24) % 3


class Pairs(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return NUMBERED[0][index], NUMBERED[1][index]


class Split(IterableDataset[tuple[Tensor, Tensor]]):
    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([(NUMBERED[0][k], NUMBERED[1][k]) for k in range(self.rank, 24, 2)])


class Own:
    """Batches of a user's own class."""

    num_examples = 24

    def __len__(self) -> int:
        return 3

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([(NUMBERED[0][k : k + 8], NUMBERED[1][k : k + 8]) for k in (0, 8, 16)])

    def fingerprint(self) -> str:
        return "mine"


FORMS: dict[str, Callable[[int], tuple[Any, dict[str, Any]]]] = {
    "tensors": lambda rank: (NUMBERED, {"batch_size": 8}),
    "data set": lambda rank: (Pairs(), {"batch_size": 8}),
    "examples": lambda rank: (ExampleBatches(Pairs(), 8), {}),
    "the same loader": lambda rank: (DataLoader(Pairs(), 8, shuffle=True), {}),
    "a sampler by rank": lambda rank: (DataLoader(Pairs(), 4, sampler=DistributedSampler(Pairs())), {}),
    "a list": lambda rank: ([(NUMBERED[0][k : k + 8], NUMBERED[1][k : k + 8]) for k in (0, 8, 16)], {"num_examples": 24}),
    "a stream by rank": lambda rank: (DataLoader(Split(rank), 4), {"num_examples": 24, "steps_per_epoch": 3}),
    "passes over a stream by rank": lambda rank: (DataLoader(Split(rank), 4), {"num_examples": 24}),
    "own batches": lambda rank: (Own(), {}),
}


def numbers_seen(rank: int, form: str) -> tuple[list[list[int]], int | None, float]:
    """What a process has trained on in two epochs, N, and the mean of the estimates of the data term of all data."""
    torch.manual_seed(rank)
    guide = VariationalDropout(BayesianNetwork(nn.Sequential(Seen(), nn.Linear(4, 3))), -60.0)
    data, options = FORMS[form](rank)
    still = partial(torch.optim.SGD, lr=1e-30)
    result = fit(guide, data, epochs=2, optimizer=still, progress=False, **options)
    return guide.model.net[0].steps, guide.model.num_data, result.history[-1].data_term  # type: ignore[union-attr, index]


@pytest.mark.parametrize("form", FORMS)
def test_shards_are_all_of_the_data_without_overlap(two: Group, form: str) -> None:
    found = two.call(numbers_seen, form)
    torch.manual_seed(0)
    net = nn.Sequential(Seen(), nn.Linear(4, 3)).eval()
    whole = nn.functional.cross_entropy(net(NUMBERED[0]), NUMBERED[1], reduction="sum").item()
    for steps, n, data_term in found:
        assert [len(step) for step in steps] == [4] * 6
        assert n == 24
        assert data_term == pytest.approx(whole, rel=1e-5)
    for epoch in (slice(0, 3), slice(3, 6)):
        both = sorted(number for steps, _, _ in found for step in steps[epoch] for number in step)
        assert both == list(range(24))


def logged(rank: int, folder: Path) -> list[str]:
    """With a checkpoint and a log in a folder that only rank 0 has."""
    own = folder / str(rank)
    if rank == 0:
        own.mkdir()
    called = []

    class Calls(Callback):
        def on_start(self, state: TrainingState) -> None:
            called.append("start")

        def on_epoch(self, state: TrainingState, record: Any) -> None:
            called.append("epoch")

        def on_end(self, state: TrainingState) -> None:
            called.append("end")

    log = [MetricsLog(own / "log")] if rank == 0 else []
    fit(noisy(rank), (X, Y), epochs=2, batch_size=8, progress=False, checkpoint=own / "c.pt", callbacks=[Calls(), *log])
    return called


def test_rank_0_writes_and_calls(two: Group, tmp_path: Path) -> None:
    assert two.call(logged, tmp_path) == [["start", "epoch", "epoch", "end"], []]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["0", "0/c.pt", "0/log"]
    assert [json.loads(line)["epoch"] for line in (tmp_path / "0/log").read_text().splitlines()] == [1, 2]


def stopped(rank: int) -> tuple[int, int]:
    """Validation data whose score grows from some epoch on, and a callback that only rank 0 is given."""
    guide = noisy(rank)
    stopping = [EarlyStopping(2)] if rank == 0 else []
    data = {"batch_size": 8, "validation": (X, (Y + 1) % 3)}
    result = fit(guide, (X, Y), epochs=60, lr=0.02, progress=False, restore_best=True, callbacks=stopping, **data)
    return len(result.history), result.epoch


def test_all_stop_where_rank_0_stops(two: Group) -> None:
    first, second = two.call(stopped)
    assert first == second
    assert first[1] <= first[0] < 60


class Bad(nn.Module):
    """NaN in one of the steps of one process."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step, self.taken = step, 0

    def forward(self, x: Tensor) -> Tensor:
        self.taken += self.training
        return x * math.nan if self.training and self.taken == self.step else x


def skipping(rank: int) -> tuple[list[int], Tensor]:
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(nn.Sequential(nn.BatchNorm1d(4), Bad(4 * rank), nn.Linear(4, 3)).double()))
    result = fit(guide, (X, Y), epochs=2, batch_size=8, progress=False)
    return [record.skipped for record in result.history], vector(guide)


def test_a_step_that_is_not_finite_in_one_process_is_skipped_in_all(two: Group) -> None:
    (skipped, first), (also, second) = two.call(skipping)
    assert skipped == also == [0, 1]
    assert torch.equal(first, second)
    assert first.isfinite().all()


def resumed(rank: int, folder: Path, epochs: int, resume: bool) -> tuple[Tensor, list[Any]] | None:
    """Stopped after some epochs, with noise, dropout and running statistics."""
    guide = noisy(rank)
    stop = Interrupt(epochs)
    stop.in_every_process = True  # type: ignore[misc]
    options: dict[str, Any] = {"epochs": 4, "batch_size": 6, "validation": (X, Y), "progress": False}
    try:
        result = fit(guide, (X, Y), **options, checkpoint=folder / "c.pt", resume=resume, callbacks=[stop])
    except KeyboardInterrupt:
        return None
    return vector(guide), [replace(record, seconds=0) for record in result.history]


def test_a_resumed_training_is_the_same_to_the_bit(two: Group, tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = two.call(resumed, tmp_path / "whole", 9, resume=False)
    assert two.call(resumed, tmp_path / "parts", 3, resume=False) == [None, None]
    found = two.call(resumed, tmp_path / "parts", 9, resume=True)
    for (parameters, history), (expected, of_whole) in zip(found, whole, strict=True):
        assert torch.equal(parameters, expected)
        assert history == of_whole


def part(rank: int, path: Path, epochs: int, resume: bool) -> tuple[Tensor, list[Any]] | None:
    stop = Interrupt(epochs)
    stop.in_every_process = True  # type: ignore[misc]
    try:
        return trained(rank, batch_size=6, epochs=6, checkpoint=path, resume=resume, callbacks=[stop])
    except KeyboardInterrupt:
        return None


def test_resume_with_another_number_of_processes(two: Group, three: Group, tmp_path: Path) -> None:
    """Two epochs in two processes, one in three, one in one, and the rest in two again."""
    path = tmp_path / "c.pt"
    expected, history = trained(0, batch_size=6, epochs=6)
    two.call(part, path, 3, resume=False)
    three.call(part, path, 4, resume=True)
    assert part(0, path, 5, resume=True) is None
    for parameters, records in two.call(part, path, 9, resume=True):
        torch.testing.assert_close(parameters, expected, rtol=1e-5, atol=1e-6)
        assert [record.epoch for record in records] == [1, 2, 3, 4, 5, 6]
        assert records[-1].loss == pytest.approx(history[-1].loss, rel=1e-5)


def by_hand(rank: int) -> Tensor:
    """A loop of the user's own: the loss as a module in DistributedDataParallel, and shards of one size."""
    guide = quiet_guide(1)
    guide.model.num_data = 22
    loss_of = VariationalDropoutELBO()(guide.model, guide)
    wrapped = nn.parallel.DistributedDataParallel(loss_of)
    wrapped(X[rank:22:2], Y[rank:22:2]).backward()
    return torch.cat([p.grad.flatten() for p in loss_of.parameters() if p.grad is not None])


def test_a_loop_of_ones_own_with_ddp(two: Group) -> None:
    guide = quiet_guide(1)
    guide.model.num_data = 22
    loss_of = VariationalDropoutELBO()(guide.model, guide)
    loss_of(X[:22], Y[:22]).backward()
    expected = torch.cat([p.grad.flatten() for p in loss_of.parameters() if p.grad is not None])
    first, second = two.call(by_hand)
    assert torch.equal(first, second)
    assert float((first - expected).norm() / expected.norm()) < 1e-6


class Counted(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Notes which examples are read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.read.append(index)
        return X[index], Y[index]


UNEVEN: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "in memory": lambda: (TensorDataset(X, Y), {"batch_size": 11}),
    "read": lambda: (Counted(), {"batch_size": 11}),
    "a loader": lambda: (DataLoader(Counted(), 11, shuffle=True), {}),
    "one at a time": lambda: (DataLoader(Counted(), 1), {"kl_weight": 0.0}),
}


def uneven(rank: int, case: str) -> tuple[Tensor, list[Any]]:
    data, options = UNEVEN[case]()
    return trained(rank, data, **options)


@pytest.mark.parametrize("case", UNEVEN)
def test_a_process_may_have_no_examples_of_a_batch(two: Group, case: str) -> None:
    """Batches of 11, 11 and 1; or of 1, of which rank 0 never has any: without the KL, whose steps would be too large."""
    alone, _ = uneven(0, case)
    for parameters, _ in two.call(uneven, case):
        torch.testing.assert_close(parameters, alone, rtol=1e-6, atol=1e-7)


def count_read(rank: int) -> list[int]:
    data, counts = Counted(), []

    class Count(Callback):
        in_every_process = True

        def on_start(self, state: TrainingState) -> None:
            data.read.clear()

        def on_step(self, state: TrainingState) -> None:
            counts.append(len(data.read))

    trained(rank, data, batch_size=11, epochs=1, callbacks=[Count()])
    return counts


def test_each_process_reads_its_own_examples(two: Group) -> None:
    """Where it has none, it reads one, which tells it the form of a batch."""
    assert two.call(count_read) == [[5, 10, 11], [6, 12, 13]]
