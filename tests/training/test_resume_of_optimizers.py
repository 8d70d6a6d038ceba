"""A training with any optimizer and scheduler goes on from its checkpoint bit for bit, and from no other training's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from pyro_vd import VariationalDropout, fit
from pyro_vd._core.storage import load_checkpoint, save_checkpoint
from pyro_vd.models import MLP
from pyro_vd.testing.interrupting import Interrupt

X, Y = torch.randn(23, 4, generator=torch.Generator().manual_seed(0)), torch.arange(23) % 3
OPTIONS: dict[str, Any] = {"epochs": 4, "batch_size": 10, "validation": (X, Y), "progress": False}


class Signs(torch.optim.Optimizer):
    """Steps of one length by the sign of a running mean of gradients, with noise: an optimizer that a user has written."""

    def __init__(self, params: Any, lr: float = 1e-3, keep: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "keep": keep})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["keep"]).add_(1e-3 * torch.randn_like(p))
                p -= group["lr"] * mean.sign()
            group["keep"] = 0.99 * group["keep"]  # a setting that the optimizer changes


def sequential(optimizer: Any) -> SequentialLR:
    return SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=2), ExponentialLR(optimizer, 0.5)], [2])


def chained(optimizer: Any) -> ChainedScheduler:
    return ChainedScheduler([ExponentialLR(optimizer, 0.9), MultiStepLR(optimizer, [1, 3])], optimizer=optimizer)


SGD = partial(torch.optim.SGD, lr=1e-4, momentum=0.9)
CASES: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": name, "lr": 1e-3} for name in ("Adagrad", "Adamax", "ASGD", "NAdam", "RAdam", "Rprop", "Adafactor")},
    "one cycle": {
        "optimizer": SGD,
        "scheduler": partial(OneCycleLR, max_lr=0.01, total_steps=12),
        "scheduler_interval": "step",
    },
    "cyclic": {"optimizer": SGD, "scheduler": partial(CyclicLR, base_lr=1e-5, max_lr=1e-3), "scheduler_interval": "step"},
    "sequential": {"scheduler": sequential, "accumulate": 2},
    "chained": {"scheduler": chained, "max_grad_norm": 0.01},
    "restarts": {"scheduler": partial(CosineAnnealingWarmRestarts, T_0=2), "lr": 1},
    "a function": {"scheduler": lambda optimizer: LambdaLR(optimizer, lambda epoch: 0.9**epoch)},
    "plateau": {"scheduler": partial(ReduceLROnPlateau, patience=0), "optimizer": "AdamW"},
    "of one's own": {"optimizer": lambda groups: Signs([{**group, "keep": 0.5} for group in groups])},
}


def train(path: Path | None = None, stop: int | None = None, seed: int = 1, **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    guide = VariationalDropout(MLP((4, 3)))
    files: dict[str, Any] = {} if path is None else {"checkpoint": path, "resume": True}
    fit(guide, (X, Y), **{**OPTIONS, **files, **options}, callbacks=[] if stop is None else [Interrupt(stop)])
    return {name: parameter.detach() for name, parameter in guide.named_parameters()}


@pytest.mark.parametrize("case", CASES)
def test_resumed_bit_for_bit(tmp_path: Path, case: str) -> None:
    """From other weights and another seed: all comes from the checkpoint."""
    whole = train(**CASES[case])
    with pytest.raises(KeyboardInterrupt):
        train(path := tmp_path / "c.pt", 2, **CASES[case])
    resumed = train(path, seed=2, **CASES[case])
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert not torch.equal(whole["sites.1.weight.theta"], train(epochs=2, **CASES[case])["sites.1.weight.theta"])


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "optimizer": ({"optimizer": SGD}, {"optimizer": partial(SGD, momentum=0.8)}),
    "a function": (
        {"optimizer": lambda groups: Signs(groups, keep=0.5)},
        {"optimizer": lambda groups: Signs(groups, keep=0.6)},
    ),
    "scheduler": (
        {"scheduler": partial(ExponentialLR, gamma=0.9)},
        {"scheduler": partial(ExponentialLR, gamma=0.8)},
    ),
    "scheduler_interval": (
        {"scheduler": partial(ExponentialLR, gamma=0.9)},
        {"scheduler": partial(ExponentialLR, gamma=0.9), "scheduler_interval": "step"},
    ),
    "accumulate": ({"accumulate": 2}, {"accumulate": 3}),
    "max_grad_norm": ({"max_grad_norm": 1.0}, {}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_training_is_refused(tmp_path: Path, case: str) -> None:
    one, other = OTHERS[case]
    train(path := tmp_path / "c.pt", **one)
    with refuses(str(path), ANYTHING) as error:
        train(path, **other)
    assert set(error.value.value) == {"optimizer" if case == "a function" else case}


@pytest.mark.parametrize("momentum", [torch.zeros(1), torch.full((3, 4), torch.nan), torch.zeros(3, 4).double(), None])
def test_a_state_that_does_not_fit_is_refused(tmp_path: Path, momentum: Any) -> None:
    train(path := tmp_path / "c.pt", optimizer=SGD)
    saved = load_checkpoint(path)
    state = saved["optimizer"]["state"]
    assert state[0]["momentum_buffer"].shape == (3, 4)
    state[0]["momentum_buffer"] = momentum
    save_checkpoint(path, {key: value for key, value in saved.items() if key != "format"})
    with refuses(f"{path}: optimizer.state.0.momentum_buffer"):
        train(path, optimizer=SGD)


@pytest.mark.parametrize("value", [{}, None, {"last_epoch": 3}, "gone", {"optimizer": 3}])
def test_a_schedulers_state_that_does_not_fit_is_refused(tmp_path: Path, value: Any) -> None:
    scheduler = partial(ExponentialLR, gamma=0.9)
    train(path := tmp_path / "c.pt", scheduler=scheduler)
    saved = load_checkpoint(path)
    saved["scheduler"] = {**saved["scheduler"], "last_epoch": "3"} if value == "gone" else value
    save_checkpoint(path, {key: value for key, value in saved.items() if key != "format"})
    with refuses():
        train(path, scheduler=scheduler)


def test_a_scheduler_that_has_ended() -> None:
    """Its own error is told as one of the setting."""
    one_cycle = partial(OneCycleLR, max_lr=0.01, total_steps=5)
    with refuses("scheduler", one_cycle, "5"):
        train(optimizer=SGD, scheduler=one_cycle, scheduler_interval="step")


class Plain:
    pass


class Held(LRScheduler):
    """Its state holds an object, which is read from no file."""

    def __init__(self, optimizer: Any) -> None:
        self.held = Plain()
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        return [group["lr"] for group in self.optimizer.param_groups]


def test_a_state_that_no_file_can_hold_is_refused_before_the_first_step(tmp_path: Path) -> None:
    train(scheduler=Held)
    with refuses("scheduler", Held, "state"):
        train(tmp_path / "c.pt", scheduler=Held)

    def factory(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD([{**group, "held": Plain()} for group in groups], lr=1e-3)

    train(optimizer=factory)
    with refuses("optimizer", factory, "state"):
        train(tmp_path / "c.pt", optimizer=factory)
    assert not list(tmp_path.iterdir())


def test_what_has_no_identity_is_refused_where_a_checkpoint_is_written(tmp_path: Path) -> None:
    numbers = (x for x in range(3))

    def factory(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=1e-3, momentum=0.0 if numbers else 0.9)

    train(optimizer=factory)
    with refuses("optimizer", factory, "generator"):
        train(tmp_path / "c.pt", optimizer=factory)
    assert not list(tmp_path.iterdir())
