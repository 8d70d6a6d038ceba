"""No denormal numbers are left by a training, in which many weights decay; what is cleared is nothing beside the noise."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import pytest
import torch
from denormal_support import num_denormal
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit
from pyro_vd.distributions import LogUniform, NormalJeffreys
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides import GroupVariationalDropout, PointEstimate
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.training import Callback, TrainingState
from pyro_vd.training.vanished import clear_vanished


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


OPTIONS: dict[str, dict[str, Any]] = {
    "held at zero": {"train_threshold": 2.0},
    "with noise": {},
    "an optimizer of torch": {"train_threshold": 2.0, "optimizer": torch.optim.AdamW},
    "momentum": {"train_threshold": 2.0, "optimizer": partial(torch.optim.SGD, lr=1e-5, momentum=0.9)},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_no_denormal_number_is_left(kind: str) -> None:
    guide, means = trained(**OPTIONS[kind])
    assert num_denormal(guide.parameters()) == 0
    assert len(means) == len(list(guide.parameters())) + 2  # and the biases
    assert num_denormal(means) == 0


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
    held = {"momentum_buffer": mean, "exp_avg": mean.to_sparse()}
    optimizer.state.update({guide.site("weight").theta: held, "rounds": 3})
    clear_vanished(guide, optimizer)
    assert torch.equal(mean, torch.tensor([[0, 1e-29]]))


def test_a_mean_that_is_not_trained_stays() -> None:
    guide = VariationalDropout(BayesianNetwork(nn.Linear(2, 1)))
    theta = guide.site("weight").theta.requires_grad_(False)
    theta.fill_(1e-39)
    clear_vanished(guide, torch.optim.SGD(guide.parameters(), lr=0.1))
    assert (theta != 0).all()


class OwnGuide(VariationalDropout):
    """A class of a user's own."""


@pytest.mark.parametrize(("guide_of", "prior"), [(OwnGuide, LogUniform), (GroupVariationalDropout, NormalJeffreys)])
def test_other_guides_with_noise_per_weight(guide_of: Any, prior: Any) -> None:
    guide = guide_of(BayesianNetwork(nn.Linear(3, 2), prior=prior))
    (name,) = guide.site_names
    theta = guide.site(name).theta
    with torch.no_grad():
        theta[0] = 1e-39
    clear_vanished(guide, torch.optim.SGD(guide.parameters(), lr=0.1))
    assert (theta[0] == 0).all()
    assert (theta[1] != 0).all()
