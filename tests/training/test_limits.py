"""Numbers at their limits: a training that has made what is not finite never returns as if all were well."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from limit_support import OPTIONS, Pair, X, Y, plain, variational
from support import refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, KLWeight, NonFiniteError, fine_tune, fit
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Normal, Poisson
from pyro_vd.training import LRSchedule, MetricsLog
from pyro_vd.workflow.recipe_files import parse_recipe
from pyro_vd.workflow.training_run import train_run


def group() -> Pair:
    model = BayesianNetwork(plain(), prior=NormalJeffreys)
    return model, GroupVariationalDropout(model)


def point() -> Pair:
    model = BayesianNetwork(plain())
    return model, PointEstimate(model)


@pytest.mark.parametrize("pair", [variational, group, point])
@pytest.mark.parametrize("lr", [1e20, 1e30, 1e37])
@pytest.mark.parametrize("batch_size", [16, 48])
def test_a_rate_that_blows_up_ends_with_the_site(pair: Callable[[], Pair], lr: float, batch_size: int) -> None:
    """Also where the step that did it is the last one."""
    with pytest.raises(NonFiniteError, match=r"sites\.|loss|data term"):
        fit(pair()[1], (X, Y), epochs=1, batch_size=batch_size, lr=lr, progress=False)


def test_the_parameters_are_named() -> None:
    with pytest.raises(NonFiniteError, match=r"guide\.sites\.0\.weight\.theta"):
        fit(variational()[1], (X, Y), epochs=1, batch_size=48, lr=1e37, progress=False)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(8), nn.BatchNorm1d(8, affine=False), nn.BatchNorm1d(8, momentum=None)])
def test_running_statistics_that_overflow_are_named(norm: nn.Module) -> None:
    with pytest.raises(NonFiniteError, match=r"model\.net\.0\.running_var"):
        fit(variational(nn.Sequential(norm, nn.Linear(8, 3)))[1], (X * 1e30, Y), **OPTIONS)


class Grows(nn.Module):
    """A buffer of one's own that a forward pass makes infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.tensor(1e30))
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen *= 1e3
        return x


def test_other_buffers_are_looked_at_and_may_be_infinite_from_the_start() -> None:
    with pytest.raises(NonFiniteError, match=r"model\.net\.0\.seen\."):
        fit(variational(nn.Sequential(Grows(), nn.Linear(8, 3)))[1], (X, Y), **{**OPTIONS, "epochs": 9})
    fit(variational(nn.Sequential(Grows(), nn.Linear(8, 3)))[1], (X, Y), **{**OPTIONS, "epochs": 1, "batch_size": 48})


@pytest.mark.parametrize("batch_size", [6, 16, 48])
def test_an_epoch_without_a_step_is_the_end(batch_size: int) -> None:
    """exp(1e4) is infinite: no step of any epoch can be taken, be they eight or one."""
    pair = variational(nn.Linear(8, 1), Poisson())
    with pytest.raises(NonFiniteError):
        fit(pair[1], (X * 1e4, Y), epochs=1, batch_size=batch_size, progress=False)


def test_the_checkpoint_and_the_log_of_the_last_good_epoch_stay(tmp_path: Path) -> None:
    schedule = LRSchedule("steps", steps={0: 1e-15, 2: 1e12})
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "callbacks": [MetricsLog(tmp_path / "log")]}
    with pytest.raises(NonFiniteError):
        fit(variational()[1], (X, Y), epochs=4, lr=1e12, lr_schedule=schedule, progress=False, **files)
    good = torch.load(files["checkpoint"], weights_only=True)
    assert len(good["history"]) == 2 == len((tmp_path / "log").read_text().splitlines())
    assert all(tensor.isfinite().all() for tensor in good["module"].values())


def test_fine_tuning_that_blows_up_leaves_the_network() -> None:
    net = plain()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(NonFiniteError):
        fine_tune(net, (X, Y), lr=1e37, **OPTIONS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("phase", ["pretrain", "train", "finetune"])
def test_a_run_ends_in_the_phase_that_blows_up(tmp_path: Path, phase: str) -> None:
    content: dict[str, Any] = {"model": {"sizes": [64, 5, 10]}, "train": {"epochs": 1}}
    content[phase] = {"epochs": 1, "lr": 1e37, "batch_size": 2000}
    with pytest.raises(NonFiniteError):
        train_run(parse_recipe(content), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert not (tmp_path / "run" / f"checkpoint-{phase}.pt").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("kl_weight", 1e300),
        ("kl_weight", -1e300),
        ("lr", 1e300),
        ("lr", math.inf),
        ("weight_decay", 1e300),
        ("epochs", 10**30),
        ("batch_size", 10**30),
        ("num_particles", 10**30),
        ("train_threshold", 1e300),
        ("train_threshold", -math.inf),
    ],
)
def test_arguments_beyond_float32_are_refused(option: str, value: float) -> None:
    with refuses(option, value):
        fit(variational()[1], (X, Y), **{**OPTIONS, option: value})


def test_the_highest_weight_of_the_kl_still_trains() -> None:
    fit(variational()[1], (X, Y), **OPTIONS, kl_weight=KLWeight(1e12))


def test_generators_are_left_as_they_were_by_the_look_at_an_epoch() -> None:
    """Drawing the loss once more must not change what is drawn afterwards."""
    from pyro_vd import VariationalDropoutELBO
    from pyro_vd.training.guard import NonFiniteGuard

    module = VariationalDropoutELBO()(*variational(nn.Sequential(nn.Linear(8, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))))
    module(X, Y)
    state, statistics = torch.get_rng_state(), [buffer.clone() for buffer in module.buffers()]
    NonFiniteGuard(module, VariationalDropoutELBO()).check_epoch(1, X, Y)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(statistics, module.buffers(), strict=True))
    assert all(part.training for part in module.modules())


def test_a_scale_that_is_learnt_is_looked_at_as_well() -> None:
    pair = variational(nn.Linear(8, 1), Normal())
    with pytest.raises(NonFiniteError):
        fit(pair[1], (X, X[:, 0]), epochs=1, batch_size=48, lr=1e30, progress=False)
