"""No denormal numbers are left by a training, in which many weights decay; what is cleared is nothing beside the noise."""

from __future__ import annotations

import multiprocessing
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides import PointEstimate
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.training import Callback, TrainingState
from pyro_vd.training.vanished import DenormalsFlushed, clear_vanished
from pyro_vd.workflow.recipe_files import parse_recipe
from pyro_vd.workflow.recipe_network import recipe_network


class Means(Callback):
    """The optimizer's means of gradients after the last epoch."""

    found: tuple[Tensor, ...] = ()

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        states = state.optimizer.state.values()
        self.found = tuple(each[name] for each in states for name in ("exp_avg", "momentum_buffer") if name in each)


def trained(**options: Any) -> tuple[WeightGuide, tuple[Tensor, ...]]:
    """A guide after 1,500 steps on noise, of which one input is always 0, and the optimizer's means of gradients."""
    pyro.set_rng_seed(0)
    x = torch.randn(100, 12)
    x[:, 0] = 0
    guide = VariationalDropout(BayesianNetwork(nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))))
    means = Means()
    y = torch.randint(3, (100,))
    fit(guide, (x, y), epochs=150, batch_size=10, kl_weight=5.0, progress=False, callbacks=[means], **options)
    return guide, means.found


def num_denormal(tensor: Tensor) -> int:
    return int(((tensor != 0) & (tensor.abs() < torch.finfo(tensor.dtype).tiny)).sum())


OPTIONS: dict[str, dict[str, Any]] = {
    "held at zero": {"train_threshold": 2.0},
    "with noise": {},
    "an optimizer of torch": {"train_threshold": 2.0, "optimizer": torch.optim.AdamW},
    "momentum": {"train_threshold": 2.0, "optimizer": partial(torch.optim.SGD, lr=1e-5, momentum=0.9)},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_no_denormal_number_is_left(kind: str) -> None:
    guide, means = trained(**OPTIONS[kind])
    assert sum(map(num_denormal, guide.parameters())) == 0
    assert len(means) == len(list(guide.parameters())) + 2  # and the biases
    assert sum(map(num_denormal, means)) == 0


@pytest.mark.parametrize("log_sigma2", [-60.0, -8.0, 4.0])
def test_a_mean_is_compared_with_its_own_noise(log_sigma2: float) -> None:
    guide = VariationalDropout(BayesianNetwork(nn.Linear(4, 1, bias=False)), log_sigma2=min(log_sigma2, 0.0))
    sigma = torch.tensor(0.5 * log_sigma2).exp()
    with torch.no_grad():
        guide.site("weight").log_sigma2.fill_(log_sigma2)
        guide.site("weight").theta.copy_(sigma * torch.tensor([[1.0, -1e-14, 1e-16, -1e-22]]))
    before = guide.site("weight").theta.clone()
    clear_vanished(guide, torch.optim.SGD(guide.parameters(), lr=0.1))
    assert torch.equal(guide.site("weight").theta, before * torch.tensor([[1, 1, 0, 0]]))


def test_what_has_no_noise_keeps_its_mean() -> None:
    guide = PointEstimate(BayesianNetwork(nn.Linear(2, 1, bias=False)))
    with torch.no_grad():
        guide.site("weight").theta.copy_(torch.tensor([[1e-30, 1e-39]]))
    before = guide.site("weight").theta.clone()
    clear_vanished(guide, torch.optim.SGD(guide.parameters(), lr=0.1))
    assert torch.equal(guide.site("weight").theta, before)


def test_an_optimizer_may_hold_what_it_likes() -> None:
    guide = VariationalDropout(BayesianNetwork(nn.Linear(2, 1)))
    optimizer = torch.optim.SGD(guide.parameters(), lr=0.1, momentum=0.9)
    mean = torch.tensor([[1e-31, 1e-29]])
    optimizer.state.update({guide.site("weight").theta: {"momentum_buffer": mean, "exp_avg": None}, "rounds": 3})
    clear_vanished(guide, optimizer)
    assert torch.equal(mean, torch.tensor([[0, 1e-29]]))


DENORMAL = torch.frombuffer(bytearray(struct.pack("f", 1e-40)) * (1 << 17), dtype=torch.float32)


def are_flushed() -> list[bool]:
    """Whether each of four threads of torch treats denormal numbers as zero."""
    return (DENORMAL * 1 == 0).view(4, -1).all(1).tolist()


def check_flushing() -> None:
    """This thread flushes inside of the context alone, and the threads that share its work never do."""
    torch.set_num_threads(4)
    inside = DenormalsFlushed()
    with inside:
        assert are_flushed() == [True, False, False, False]
    assert are_flushed() == [False] * 4
    torch.set_flush_denormal(True)
    with inside:
        pass
    assert are_flushed()[0]


def check_recipe() -> None:
    """All threads of a recipe's training flush."""
    recipe_network(parse_recipe({"data": {"name": "digits"}, "threads": 4}).from_anywhere(), 0)
    with DenormalsFlushed():
        assert are_flushed() == [True] * 4
    assert are_flushed() == [True] * 4


@pytest.mark.parametrize("check", [check_flushing, check_recipe])
def test_what_other_threads_do(check: Callable[[], None]) -> None:
    """In a new process, in which torch has not begun its threads."""
    process = multiprocessing.get_context("spawn").Process(target=check)
    process.start()
    process.join()
    assert process.exitcode == 0


class Vanishing(nn.Module):
    """A linear layer and 15 factors of 1/1,000; keeps the gradients on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.gradients: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x)
        logits = h
        for _ in range(15):
            h = 1e-3 * h
            if h.requires_grad:
                h.register_hook(lambda gradient: self.gradients.append(gradient.clone()))
        return logits + h


class Seen(Callback):
    """Whether callbacks compute with denormal numbers as ever."""

    flushed: bool | None = None

    def on_step(self, state: TrainingState) -> None:
        self.flushed = are_flushed()[0]


def test_gradients_that_vanish_are_zero() -> None:
    guide, seen = VariationalDropout(BayesianNetwork(Vanishing())), Seen()
    fit(guide, (torch.randn(20, 3), torch.randint(2, (20,))), epochs=1, progress=False, callbacks=[seen])
    (net,) = (module for module in guide.model.modules() if isinstance(module, Vanishing))
    assert len(net.gradients) >= 15
    assert sum(map(num_denormal, net.gradients)) == 0
    assert seen.flushed is False
