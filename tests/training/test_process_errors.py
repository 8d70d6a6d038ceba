"""An error in one of several processes ends all of them with a sentence that names the rank; nobody waits for ever."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from process_support import Group, group_of
from support import refuses
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.distributed import DistributedSampler

from pyro_vd import (
    BayesianNetwork,
    InputError,
    NonFiniteError,
    ProcessError,
    VariationalDropout,
    VariationalDropoutELBO,
    fit,
    log_alpha,
)
from pyro_vd.guides import GaussianDropout, PointEstimate, WeightGuide
from pyro_vd.training import Callback, TrainingState

N = 24
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 3


@pytest.fixture(scope="module")
def two() -> Iterator[Group]:
    with group_of(2) as group:
        yield group


def guide_of(net: nn.Module | None = None, kind: Callable[[BayesianNetwork], WeightGuide] = VariationalDropout) -> WeightGuide:
    torch.manual_seed(0)
    return kind(BayesianNetwork(nn.Linear(4, 3) if net is None else net))


def run(guide: WeightGuide, data: Any = (X, Y), **options: Any) -> int:
    return len(fit(guide, data, **{"epochs": 2, "batch_size": 8, "progress": False, **options}).history)


def masked(kept: int) -> WeightGuide:
    guide = guide_of()
    guide.apply_masks({"weight": torch.arange(12).view(3, 4) < kept})
    return guide


DIFFERENT: dict[str, tuple[Callable[[int], int], str]] = {
    "a setting": (lambda rank: run(guide_of(), lr=0.1 * (1 + rank)), "lr"),
    "the size of the batches": (lambda rank: run(guide_of(), batch_size=8 + rank), "batch_size"),
    "the data": (lambda rank: run(guide_of(), (X + rank, Y)), "data"),
    "the number of examples": (lambda rank: run(guide_of(), (X[rank:], Y[rank:])), "num_data"),
    "the kind of data": (lambda rank: run(guide_of(), [(X, Y), Pairs()][rank]), "training data"),
    "validation data": (lambda rank: run(guide_of(), validation=(X, Y) if rank else None), "validation data"),
    "a checkpoint": (lambda rank: run(guide_of(), checkpoint="never/c.pt" if rank else None), "checkpoint"),
    "the guide": (lambda rank: run(guide_of(kind=[VariationalDropout, PointEstimate][rank])), "guide"),
    "a setting of the guide": (lambda rank: run(guide_of(kind=partial(GaussianDropout, p=0.1 + rank / 10))), "guide"),
    "the network": (lambda rank: run(guide_of(nn.Linear(4, 3 + rank))), "BayesianNetwork.net.bias"),
    "what is trained": (lambda rank: run(guide_of(frozen_bias(rank))), "BayesianNetwork.net.bias"),
    "the masks": (lambda rank: run(masked(6 + rank)), "VariationalDropout.sites.weight.mask"),
}


def frozen_bias(rank: int) -> nn.Module:
    net = nn.Linear(4, 3)
    net.bias.requires_grad_(not rank)
    return net


def different(rank: int, case: str) -> int:
    return DIFFERENT[case][0](rank)


@pytest.mark.parametrize("case", DIFFERENT)
def test_different_arguments_are_refused_in_all(two: Group, case: str) -> None:
    for error in two.call(different, case):
        assert isinstance(error, InputError), error
        assert error.name == DIFFERENT[case][1], str(error)
        assert "rank 0" in str(error)
        assert "rank 1" in str(error)
        assert "\n" not in str(error)


class Pairs(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, bad: int | None = None, missing: int | None = None) -> None:
        self.bad, self.missing = bad, missing

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.missing:
            raise OSError("the disk is gone")
        return X[index] * (torch.nan if index == self.bad else 1), Y[index]


def sharded(rank: int, kind: str) -> int:
    """Rank 1 has the examples 1, 3, 5, … in batches of four; example 19 is in its third batch."""
    data: dict[str, Any] = {"NaN": Pairs(bad=19), "missing": Pairs(missing=19)}
    sampler: DistributedSampler[Any] = DistributedSampler(data[kind], shuffle=False)
    return run(guide_of(), DataLoader(data[kind], 4, sampler=sampler), batch_size=None)


@pytest.mark.parametrize("kind", ["NaN", "missing"])
def test_a_bad_batch_of_one_process(two: Group, kind: str) -> None:
    for error in two.call(sharded, kind):
        assert isinstance(error, InputError), error
        for said in ("rank 1", "batch 3 of epoch 1"):
            assert said in str(error)


class Raise(Callback):
    in_every_process = True

    def __init__(self, rank: int, where: str, error: Callable[[], Exception]) -> None:
        self.rank, self.where, self.error = rank, where, error

    def _at(self, where: str, state: TrainingState) -> None:
        if (self.rank, self.where) == (state.processes.shard.rank, where):
            raise self.error()

    def on_start(self, state: TrainingState) -> None:
        self._at("start", state)

    def on_step(self, state: TrainingState) -> None:
        self._at(f"step {state.step} of {state.epoch}", state)

    def on_epoch(self, state: TrainingState, record: Any) -> None:
        self._at(f"epoch {record.epoch}", state)

    def on_end(self, state: TrainingState) -> None:
        self._at("end", state)


def raising(rank: int, failing: int, where: str) -> int:
    return run(guide_of(), callbacks=[Raise(failing, where, lambda: KeyError("mine"))])


@pytest.mark.parametrize("where", ["start", "step 1 of 0", "step 3 of 0", "epoch 1", "step 2 of 1", "epoch 2", "end"])
@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_anywhere_ends_all(two: Group, failing: int, where: str) -> None:
    found = two.call(raising, failing, where)
    assert isinstance(found[failing], KeyError), found
    assert isinstance(found[1 - failing], ProcessError), found
    for said in (f"rank {failing}", "KeyError", "mine"):
        assert said in str(found[1 - failing])


class Broken(ConstantLR):
    """A scheduler that fails in rank 1, when it is made or when its state is asked for."""

    def __init__(self, optimizer: torch.optim.Optimizer, where: str) -> None:
        super().__init__(optimizer)
        self.where = where
        self._at("made")

    def _at(self, where: str) -> None:
        if self.where == where and dist.get_rank() == 1:
            raise KeyError(where)

    def state_dict(self) -> dict[str, Any]:
        self._at("asked")
        return {}


def broken(rank: int, where: str, path: Path) -> int:
    return run(guide_of(), scheduler=partial(Broken, where=where), checkpoint=path)


@pytest.mark.parametrize("where", ["made", "asked"])
def test_an_error_before_the_first_step_ends_all(two: Group, where: str, tmp_path: Path) -> None:
    first, second = two.call(broken, where, tmp_path / "c.pt")
    kinds = {"made": (InputError, InputError), "asked": (ProcessError, KeyError)}[where]
    assert (type(first), type(second)) == kinds, (first, second)
    assert "rank 1" in str(first)


def raising_twice(rank: int) -> int:
    """An error in the training of rank 1; then one in the end of rank 0, after both know of the first."""
    errors = [Raise(1, "step 1 of 0", lambda: KeyError("first")), Raise(0, "end", lambda: KeyError("second"))]
    return run(guide_of(), callbacks=errors)


def test_a_second_error_at_the_end(two: Group) -> None:
    first, second = two.call(raising_twice)
    assert isinstance(first, KeyError), first
    assert "second" in str(first)
    assert isinstance(second, KeyError), second
    assert "first" in str(second)


def same_error(rank: int) -> int:
    return run(guide_of(), lr=-1)


def test_an_error_of_all_is_no_ones(two: Group) -> None:
    for error in two.call(same_error):
        assert isinstance(error, InputError)
        assert (error.name, error.value) == ("lr", -1)
        assert "rank" not in str(error)


def of_one(rank: int) -> int:
    return run(guide_of(), lr=-1 if rank else 0.1)


def test_a_bad_argument_in_one_process(two: Group) -> None:
    for error in two.call(of_one):
        assert isinstance(error, InputError)
        assert (error.name, error.value) == ("lr", -1)
        assert "rank 1" in str(error)


def full_disk(rank: int, folder: Path) -> int:
    """The folder of the checkpoint is taken away after the first epoch."""
    (folder / "in").mkdir(exist_ok=True)

    class Remove(Callback):
        def on_epoch(self, state: TrainingState, record: Any) -> None:
            for path in (folder / "in").iterdir():
                path.unlink()
            (folder / "in").rmdir()

    return run(guide_of(), checkpoint=folder / "in" / "c.pt", callbacks=[Remove()], epochs=1)


def test_a_checkpoint_that_cannot_be_written_ends_all(two: Group, tmp_path: Path) -> None:
    first, second = two.call(full_disk, tmp_path)
    assert isinstance(first, OSError), first
    assert isinstance(second, ProcessError), second
    assert "rank 0" in str(second)


class NaN(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.nan if self.training else x


def never_finite(rank: int) -> int:
    net = nn.Sequential(NaN() if rank else nn.Identity(), nn.Linear(4, 3))
    return run(guide_of(net), epochs=9, batch_size=4)


def test_a_process_that_is_never_finite_ends_all(two: Group) -> None:
    for error in two.call(never_finite):
        assert isinstance(error, NonFiniteError), error


class Wander(torch.optim.SGD):
    """An optimizer with noise of its own, which no other process has."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter += 1e-3 * torch.randn_like(parameter)


def wandering(rank: int) -> int:
    return run(guide_of(), optimizer=Wander)


def test_processes_that_drift_apart_are_refused(two: Group) -> None:
    for error in two.call(wandering):
        assert isinstance(error, InputError)
        assert error.name == "parameters"
        assert "epoch 1" in str(error)


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Numbers by rank, or random ones that no generator of torch draws."""

    def __init__(self, offset: int, is_random: bool = False) -> None:
        self.offset, self.is_random = offset, is_random

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        shift = time.perf_counter_ns() % 1000 if self.is_random else self.offset
        return iter([(X[k] + shift, Y[k]) for k in range(N)])


LOADERS: dict[str, tuple[Callable[[int], tuple[Any, dict[str, Any]]], str]] = {
    "random": (lambda rank: (DataLoader(Stream(0, True), 4), {"num_examples": N}), "training data"),
    "N of all is missing": (lambda rank: (DataLoader(Listed(rank), 4), {}), "num_examples"),
    "N differs": (lambda rank: (DataLoader(Stream(rank), 4), {"num_examples": N + rank}), "num_examples"),
    "too small": (lambda rank: ((X, Y), {"batch_size": 1}), "batch_size"),
    "a sampler of another rank": (
        lambda rank: (DataLoader(Pairs(), 4, sampler=DistributedSampler(Pairs(), 2, 0)), {}),
        "sampler",
    ),
    "another number": (lambda rank: (DataLoader(Pairs(), 4, sampler=DistributedSampler(Pairs(), 3, rank)), {}), "sampler"),
}


class Listed(Stream):
    def __len__(self) -> int:
        return N


def loading(rank: int, case: str) -> int:
    data, options = LOADERS[case][0](rank)
    return run(guide_of(), data, **{"batch_size": None, **options})


@pytest.mark.parametrize("case", LOADERS)
def test_loaders_that_do_not_fit_together(two: Group, case: str) -> None:
    for error in two.call(loading, case):
        assert isinstance(error, InputError), error
        assert error.name == LOADERS[case][1], str(error)


def waiting(rank: int) -> int:
    return run(guide_of(nn.Sequential(nn.Linear(4, 6), nn.SyncBatchNorm(6), nn.Linear(6, 3))))


def test_a_module_that_waits_for_others_is_refused(two: Group) -> None:
    for error in two.call(waiting):
        assert isinstance(error, InputError), error
        assert error.name == "net.1"


def spread(rank: int) -> tuple[float, float, list[str]]:
    """A loop of the user's own with fully_shard: the difference of its gradient, the last of its losses, and the classes."""
    guide = guide_of(kind=partial(VariationalDropout, log_sigma2=-60.0))
    guide.model.num_data = N
    whole = VariationalDropoutELBO()(guide.model, guide)
    whole(X, Y).backward()
    expected = {name: parameter.grad for name, parameter in whole.named_parameters()}
    guide = guide_of(kind=partial(VariationalDropout, log_sigma2=-60.0))
    guide.model.num_data = N
    loss_of = VariationalDropoutELBO()(guide.model, guide)
    fully_shard(loss_of, mesh=init_device_mesh("cpu", (2,)))
    loss_of(X[rank::2], Y[rank::2]).backward()
    apart = 0.0
    for name, parameter in loss_of.named_parameters():
        if (gradient := expected[name]) is not None:
            apart = max(apart, float((parameter.grad.full_tensor() - gradient).norm() / gradient.norm()))  # type: ignore[union-attr]
    optimizer = torch.optim.Adam(loss_of.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = loss_of(X[rank::2], Y[rank::2])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    state = get_model_state_dict(loss_of, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:  # the others are given no state
        before = log_alpha(whole.guide)["weight"]
        whole.load_state_dict(state)
        assert not torch.equal(log_alpha(whole.guide)["weight"], before)
    try:
        run(guide)
    except InputError as error:
        return apart, losses[-1] / losses[0], [type(p).__name__ for p in guide.parameters()] + [error.value]
    return apart, losses[-1] / losses[0], []


def test_parameters_that_are_spread(two: Group) -> None:
    """By fully_shard, which the tutorial says works in a loop of one's own, and which fit refuses."""
    for apart, share, kinds in two.call(spread):
        assert apart < 1e-6
        assert share < 1
        assert kinds == ["DTensor"] * 3


def works(rank: int) -> int:
    return run(guide_of())


def test_the_group_can_train_after_all_these_errors(two: Group) -> None:
    assert two.call(works) == [2, 2]


class Die(Callback):
    in_every_process = True

    def on_step(self, state: TrainingState) -> None:
        if state.processes.shard.rank == 1 and state.step == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(rank: int, path: Path) -> tuple[float, Exception] | None:
    started = time.monotonic()
    run(guide_of(), epochs=1, checkpoint=path)
    try:
        run(guide_of(), epochs=50, callbacks=[Die()])
    except ProcessError as error:
        return time.monotonic() - started, error
    return None


@pytest.mark.slow
def test_a_killed_process_ends_the_others(tmp_path: Path) -> None:
    with group_of(2) as group:
        first, second = group.call(killed, tmp_path / "c.pt")
    assert second == "died"
    seconds, error = first
    assert seconds < 20
    assert "rank 0 of 2" in str(error)
    assert "\n" not in str(error)
    assert (tmp_path / "c.pt").exists()


def test_processes_without_a_group_do_not_train_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with refuses("WORLD_SIZE", 2, "init_process_group"):
        run(guide_of())
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert run(guide_of()) == 2
