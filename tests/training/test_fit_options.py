"""Options of the training loop: each does what it says, and is refused where it cannot."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support import refuses
from torch import nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit
from pyro_vd.guides import PointEstimate
from pyro_vd.models import MLP

X, Y = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
TRAIN = X[:40], Y[:40]
OPTIONS: dict[str, Any] = {"epochs": 5, "batch_size": 10, "lr": 0.01, "progress": False}


def pair(log_sigma2: float = -8.0) -> tuple[MLP, VariationalDropout]:
    model = MLP((6, 8, 3))
    return model, VariationalDropout(model, log_sigma2)


def test_particles_average_the_noise() -> None:
    """The spread of the data term over many epochs without learning falls as 1/√S."""
    spread = []
    for particles in (1, 9):
        torch.manual_seed(0)
        _model, guide = pair(-1.0)
        options: dict[str, Any] = {"epochs": 40, "batch_size": 60, "lr": 1e-12, "progress": False}
        history = fit(guide, (X, Y), **options, num_particles=particles).history
        spread.append(torch.tensor([record.data_term for record in history]).std().item())
    assert 1.8 < spread[0] / spread[1] < 5, "three times"


def test_hold_trains_the_network_as_it_will_be_pruned() -> None:
    """With all means held at zero and next to no noise the network is constant: it sees only the biases."""
    terms = {}
    for hold in (None, -100.0):
        model, guide = pair(-40)
        history = fit(guide, (X, Y), epochs=1, batch_size=60, lr=1e-12, train_threshold=hold, progress=False).history
        terms[hold] = history[0].data_term
    bias = model.to_module({name: torch.zeros_like(w) for name, w in model.initial_weights.items()})(X)
    assert torch.equal(bias, bias[:1].expand_as(bias))
    held = nn.functional.cross_entropy(bias, Y, reduction="sum").item()
    assert terms[-100.0] != pytest.approx(terms[None], rel=1e-3)
    assert terms[-100.0] == pytest.approx(held, rel=1e-4)


def test_trains_in_training_mode() -> None:
    model = BayesianNetwork(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)))
    model.eval()
    before = model.net[1].running_mean.clone()
    fit(VariationalDropout(model), TRAIN, **OPTIONS)
    assert not torch.equal(model.net[1].running_mean, before)


def test_weight_decay_shrinks() -> None:
    sizes = []
    for weight_decay in (0.0, 10.0):
        torch.manual_seed(0)
        model = MLP((6, 8, 3))
        guide = PointEstimate(model)
        fit(guide, TRAIN, **{**OPTIONS, "epochs": 50}, weight_decay=weight_decay)
        sizes.append(guide.site("1.weight").theta.norm().item())
    assert sizes[1] < 0.7 * sizes[0]


def test_the_last_smaller_batch_is_trained_on() -> None:
    """40 examples in batches of 39: the step on the one left out is taken, and weighted as the others are."""
    _model, guide = pair()
    before = guide.site("3.weight").theta.detach().clone()
    fit(guide, TRAIN, epochs=1, batch_size=39, lr=0.01, progress=False)
    moved = (guide.site("3.weight").theta - before).abs().max().item()
    assert moved > 0.011, "two steps of Adam, not one"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("epochs", value) for value in (0, -1, 1.5, True)),
        *(("batch_size", value) for value in (0, -1, 2.5)),
        *(("lr", value) for value in (0, -1, math.nan, math.inf, "0.1")),
        *(("weight_decay", value) for value in (-1, math.nan)),
        ("num_particles", 0),
        ("device", "nonsense"),
    ],
)
def test_bad_options(option: str, value: Any) -> None:
    with refuses(option, value):
        fit(pair()[1], TRAIN, **{**OPTIONS, option: value})


def test_bad_data() -> None:
    with refuses("validation data", 3, "label 3"):
        fit(pair()[1], TRAIN, (X, Y + 1), **OPTIONS)
    with refuses("training data", (5,)):
        fit(pair()[1], (X[:, :5], Y), **OPTIONS)
    broken = X.clone()
    broken[3, 2] = math.nan
    with refuses("training data", 1, "inputs", "example 3"):
        fit(pair()[1], (broken, Y), **OPTIONS)
