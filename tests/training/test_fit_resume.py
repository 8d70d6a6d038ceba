"""``fit`` goes on from a checkpoint as if it had never stopped, and from no other training's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, KLWeight, NonFiniteError, VariationalDropout, fit, posterior_mean
from pyro_vd.distributions import NormalARD
from pyro_vd.guides import BernoulliDropout, GaussianDropout, PointEstimate, WeightGuide
from pyro_vd.models import Poisson
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.training import FitResult, LRSchedule, MetricsLog


class Crash(nn.Module):
    """Passes its input on, as NaN in some training steps, and raises at one."""

    def __init__(self, step: int | None, bad: Collection[int]) -> None:
        super().__init__()
        self.step, self.bad, self.taken = step, bad, 0

    def forward(self, x: Tensor) -> Tensor:
        self.taken += self.training
        if self.training and self.taken == self.step:
            raise KeyboardInterrupt
        return x * math.nan if self.training and self.taken in self.bad else x


def pair(
    seed: int, guide: Callable[[BayesianNetwork], WeightGuide], crash: int | None = None, bad: Collection[int] = ()
) -> tuple[BayesianNetwork, WeightGuide]:
    torch.manual_seed(seed)
    net = nn.Sequential(Crash(crash, bad), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    model = BayesianNetwork(net)
    return model, guide(model)


DATA = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3
OPTIONS: dict[str, Any] = {"epochs": 5, "batch_size": 16, "lr": 0.01, "validation": DATA, "progress": False}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def state_of(model: BayesianNetwork, guide: WeightGuide) -> dict[str, list[Any]]:
    return {name: t.tolist() for module in (model, guide) for name, t in module.state_dict(prefix=str(type(module))).items()}


@pytest.mark.parametrize("guide", [VariationalDropout, PointEstimate])
@pytest.mark.parametrize("step", [5, 10, 20])
def test_fit_interrupted_in_an_epoch(tmp_path: Path, guide: type[WeightGuide], step: int) -> None:
    """Of 20 steps, 4 an epoch. The second half begins from other weights and another seed: all comes from the checkpoint."""
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "callbacks": [MetricsLog(tmp_path / "log")], "resume": True}
    whole = pair(1, guide)
    expected = fit(whole[1], DATA, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        fit(pair(1, guide, step)[1], DATA, **OPTIONS, **files)
    assert len(lines_of(tmp_path / "log")) == (step - 1) // 4
    resumed = pair(2, guide)
    result = fit(resumed[1], DATA, **OPTIONS, **files)
    assert state_of(*resumed) == state_of(*whole)
    assert any("running_mean" in name for name in state_of(*whole))
    assert [replace(r, seconds=0) for r in result.history] == [replace(r, seconds=0) for r in expected.history]
    assert lines_of(tmp_path / "log") == [json.loads(json.dumps(asdict(record))) for record in result.history]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 6),
        ("batch_size", 17),
        ("lr", 0.02),
        ("lr_schedule", LRSchedule("linear")),
        ("kl_weight", KLWeight(0.5)),
        ("train_threshold", 3.0),
        ("weight_decay", 0.1),
        ("num_particles", 2),
        ("phase", "another"),
    ],
)
def test_another_training_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "c.pt"
    fit(pair(1, VariationalDropout)[1], DATA, **OPTIONS, checkpoint=path)
    before = path.read_bytes()
    with refuses(str(path), ANYTHING, key) as error:
        fit(pair(1, VariationalDropout)[1], DATA, **{**OPTIONS, key: value}, checkpoint=path, resume=True)
    assert set(error.value.value) == {key}
    assert path.read_bytes() == before
    fit(pair(1, VariationalDropout)[1], DATA, **{**OPTIONS, key: value}, checkpoint=path)
    assert path.read_bytes() != before, "without resume it starts anew"


def test_other_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    fit(pair(1, VariationalDropout)[1], DATA, **OPTIONS, checkpoint=path)
    with refuses(str(path), ANYTHING, "num_data 50", 48) as error:
        fit(pair(1, VariationalDropout)[1], (DATA[0][2:], DATA[1][2:]), **OPTIONS, checkpoint=path, resume=True)
    assert set(error.value.value) == {"num_data", "data"}


def changed(data: tuple[Tensor, Tensor], part: int) -> tuple[Tensor, Tensor]:
    """The data with two numbers of one part in each other's place, which no sum tells."""
    order = torch.tensor([1, 0, *range(2, 50)])
    return (data[0][order], data[1]) if part == 0 else (data[0], data[1][order])


@pytest.mark.parametrize("part", [0, 1])
def test_other_data_of_the_same_size_are_refused(tmp_path: Path, part: int) -> None:
    path = tmp_path / "c.pt"
    fit(pair(1, VariationalDropout)[1], DATA, **OPTIONS, checkpoint=path)
    same = DATA[0].clone().t().contiguous().t(), DATA[1].clone()
    fit(pair(2, VariationalDropout)[1], same, **OPTIONS, checkpoint=path, resume=True)
    with refuses(str(path)) as error:
        fit(pair(1, VariationalDropout)[1], changed(DATA, part), **OPTIONS, checkpoint=path, resume=True)
    assert list(error.value.value) == ["data"]


OTHERS: dict[str, tuple[Callable[[BayesianNetwork], WeightGuide], str]] = {
    "p": (partial(GaussianDropout, p=0.3), "GaussianDropout(p=0.3, noise_on='weight')"),
    "noise_on": (partial(GaussianDropout, p=0.2, noise_on="unit"), "GaussianDropout(p=0.2, noise_on='unit')"),
    "kind": (partial(BernoulliDropout, p=0.2), "BernoulliDropout(p=0.2)"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_guide_is_refused(tmp_path: Path, case: str) -> None:
    path, (other, said) = tmp_path / "c.pt", OTHERS[case]
    fit(pair(1, partial(GaussianDropout, p=0.2))[1], DATA, **OPTIONS, checkpoint=path)
    fit(pair(2, partial(GaussianDropout, p=0.2))[1], DATA, **OPTIONS, checkpoint=path, resume=True)
    with refuses(str(path), {"guide": "GaussianDropout(p=0.2, noise_on='weight')"}, said):
        fit(pair(1, other)[1], DATA, **OPTIONS, checkpoint=path, resume=True)


def test_another_prior_is_refused(tmp_path: Path) -> None:
    path, (_model, guide) = tmp_path / "c.pt", pair(1, VariationalDropout)
    fit(guide, DATA, **OPTIONS, checkpoint=path)
    again = BayesianNetwork(posterior_mean(guide), prior=NormalARD)
    with refuses(str(path), {"priors": ["LogUniform(kl='approximate')"]}, "NormalARD()"):
        fit(VariationalDropout(again), DATA, **OPTIONS, checkpoint=path, resume=True)


def test_a_streak_of_bad_steps_goes_on(tmp_path: Path) -> None:
    """A good step, nine bad ones, a checkpoint and one more bad one are ten in a row."""
    path, options = tmp_path / "c.pt", {**OPTIONS, "batch_size": 5}
    with pytest.raises(KeyboardInterrupt):
        fit(pair(1, VariationalDropout, 11, range(2, 11))[1], DATA, **options, checkpoint=path)
    with pytest.raises(NonFiniteError, match="10 "):
        fit(pair(1, VariationalDropout, None, [1])[1], DATA, **options, checkpoint=path, resume=True)
    assert fit(pair(1, VariationalDropout)[1], DATA, **options, checkpoint=path, resume=True).skipped == 9


def test_a_score_that_is_not_finite_does_not_stop_a_resumed_training(tmp_path: Path) -> None:
    x, counts = torch.randn(20, 3), torch.arange(20.0) % 4
    options: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "progress": False}

    def train(epochs: int, resume: bool) -> FitResult:
        torch.manual_seed(0)
        guide = VariationalDropout(BayesianNetwork(nn.Linear(3, 1), Poisson()))
        held_out = torch.cat([x[:2], x[2:] * 1e4]), counts  # whose rates overflow
        return fit(guide, (x, counts), held_out, epochs=3, resume=resume, callbacks=[Interrupt(epochs)], **options)

    with pytest.raises(KeyboardInterrupt):
        train(2, resume=False)
    history = train(9, resume=True).history
    assert len(history) == 3
    assert history[0].score is not None
    assert not math.isfinite(history[0].score)
