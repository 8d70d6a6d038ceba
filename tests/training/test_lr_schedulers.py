"""``fit`` trains with any learning-rate scheduler of torch, which takes its steps when the settings say."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from support import ANYTHING, EachStep, refuses
from torch import Tensor, nn
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from pyro_vd import BayesianNetwork, VariationalDropout, fit
from pyro_vd.models import MLP
from pyro_vd.training import LRSchedule, TrainingState

X, Y = torch.randn(23, 4, generator=torch.Generator().manual_seed(0)), torch.arange(23) % 3
OPTIONS: dict[str, Any] = {"epochs": 4, "batch_size": 10, "progress": False}
STEPS = 3


def rates(scheduler: Any, validation: Any = None, **options: Any) -> tuple[list[float], list[float]]:
    """The rate of each step, and that in the history of each epoch."""
    seen: list[float] = []

    def look(state: TrainingState) -> None:
        seen.append(state.lr)

    guide = VariationalDropout(MLP((4, 3)))
    options = {**OPTIONS, "lr": 0.1, **options}
    result = fit(guide, (X, Y), validation, **options, scheduler=scheduler, callbacks=[EachStep(look)])
    return seen, [record.lr for record in result.history]


def sequential(optimizer: Any) -> SequentialLR:
    return SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=2), ExponentialLR(optimizer, 0.5)], [2])


def chained(optimizer: Any) -> ChainedScheduler:
    return ChainedScheduler([ExponentialLR(optimizer, 0.9), StepLR(optimizer, 2)], optimizer=optimizer)


SCHEDULERS: dict[str, Any] = {
    "cosine": partial(CosineAnnealingLR, T_max=4),
    "one cycle": partial(OneCycleLR, max_lr=0.1, total_steps=12),
    "sequential": sequential,
    "chained": chained,
}


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("case", SCHEDULERS)
def test_the_rates_are_those_of_torch(case: str, interval: str) -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, expected = SCHEDULERS[case](optimizer), []
    for step in range(1, 1 + 4 * STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if interval == "step" or step % STEPS == 0:
            scheduler.step()
    steps, epochs = rates(SCHEDULERS[case], scheduler_interval=interval)
    assert steps == expected
    assert epochs == expected[STEPS - 1 :: STEPS]


def test_a_step_is_an_update() -> None:
    steps, epochs = rates(partial(ExponentialLR, gamma=0.5), scheduler_interval="step", accumulate=2, epochs=2)
    assert steps == [0.1, 0.1, 0.05, 0.025, 0.025, 0.0125]
    assert epochs == [0.05, 0.0125]


def test_a_plateau_of_the_validation_score() -> None:
    """Nothing is learnt at this rate, so that the score stays what it was."""
    _, epochs = rates(partial(ReduceLROnPlateau, patience=0, factor=0.5, eps=0), (X, Y), lr=1e-25, epochs=4)
    assert epochs == [1e-25, 1e-25, 5e-26, 2.5e-26]


def test_with_an_optimizer_of_ones_own() -> None:
    steps, _ = rates(partial(ExponentialLR, gamma=0.5), lr=None, optimizer=partial(torch.optim.SGD, lr=1e-5))
    assert steps[::STEPS] == [1e-5, 5e-6, 2.5e-6, 1.25e-6]


def test_a_skipped_step_is_none_of_the_scheduler() -> None:
    class Bad(nn.Module):
        taken = 0

        def forward(self, x: Tensor) -> Tensor:
            self.taken += self.training
            return x * math.nan if self.training and self.taken < 3 else x

    guide = VariationalDropout(BayesianNetwork(nn.Sequential(Bad(), nn.Linear(4, 3))))
    interval: dict[str, Any] = {"scheduler": partial(ExponentialLR, gamma=0.5), "scheduler_interval": "step"}
    result = fit(guide, (X, Y), **{**OPTIONS, "epochs": 2}, lr=0.1, **interval)
    taken = 2 * STEPS - result.skipped
    assert result.skipped == 2
    assert result.history[-1].lr == pytest.approx(0.1 * 0.5 ** (taken - 1))


OTHER = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "both": ({"scheduler": CosineAnnealingLR, "lr_schedule": LRSchedule("linear")}, "lr_schedule", "scheduler"),
    "an object": ({"scheduler": StepLR(OTHER, 2)}, "scheduler", "function"),
    "of another optimizer": ({"scheduler": lambda optimizer: StepLR(OTHER, 2)}, "scheduler", "StepLR"),
    "nothing": ({"scheduler": lambda optimizer: None}, "scheduler", "None"),
    "a missing argument": ({"scheduler": CosineAnnealingLR}, "scheduler", "T_max"),
    "an interval": ({"scheduler": partial(StepLR, step_size=2), "scheduler_interval": "batch"}, "scheduler_interval", "step"),
    "no score": ({"scheduler": ReduceLROnPlateau}, "scheduler", "validation data"),
    "scores at steps": (
        {"scheduler": ReduceLROnPlateau, "scheduler_interval": "step", "validation": (X, Y)},
        "scheduler",
        "epoch",
    ),
    "upside down": ({"scheduler": partial(ReduceLROnPlateau, mode="max"), "validation": (X, Y)}, "scheduler: mode", "min"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_scheduler_is_refused(case: str) -> None:
    options, name, said = REFUSED[case]
    guide = VariationalDropout(MLP((4, 3)))
    with refuses(name, ANYTHING, said):
        fit(guide, (X, Y), **{**OPTIONS, **options})
    assert guide.model.num_data is None
