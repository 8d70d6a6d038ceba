"""A training goes on in a new process where it is the same one, and is told from another by what it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from support import ANYTHING, python, refuses
from torch import nn

from pyro_vd import BayesianNetwork, fit
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Normal
from pyro_vd.training.identity import identity, pair_identity

SCRIPT = """
import sys, torch
from torch import nn
from pyro_vd import *
from pyro_vd.training import Callback, LRSchedule

def observed(output):
    import pyro.distributions as dist
    return dist.Categorical(logits=output)

class Stop(Callback):
    def on_step(self, state):
        if state.epoch == 1:
            sys.exit(3)

for path, end, strength in zip(*[iter(sys.argv[1:])] * 3):
    def jitter(x, strength=float(strength)):
        return x + strength * torch.randn_like(x)

    torch.manual_seed(0)
    x, y = torch.randn(40, 6), torch.arange(40) % 3
    model = BayesianNetwork(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), observed)
    guide = VariationalDropout(model)
    options = dict(epochs=4, batch_size=10, augment=jitter, lr_schedule=LRSchedule("linear"), kl_weight=KLWeight(0.3, end=2))
    options |= dict(callbacks=[Stop()] if end == "stop" else [], checkpoint=path, resume=True, progress=False)
    try:
        fit(guide, (x, y), **options)
    except InputError as error:
        print(error)
    else:
        print(*[parameter.double().sum().item() for parameter in guide.parameters()])
"""


@pytest.mark.slow
def test_a_function_goes_on_in_a_new_process(tmp_path: Path) -> None:
    """Bit for bit as if never stopped; with the function's default changed in between it is another training."""
    whole, stopped = tmp_path / "whole.pt", tmp_path / "c.pt"
    first = python(SCRIPT, whole, "go", "0.1", stopped, "stop", "0.1")
    assert first.returncode == 3, first.stderr
    second = python(SCRIPT, stopped, "go", "0.2", stopped, "go", "0.1")
    refused, found = second.stdout.splitlines()
    assert "augment" in refused
    assert [found] == first.stdout.splitlines() != [""]


def test_another_likelihood_is_refused(tmp_path: Path) -> None:
    def train(scale: float | None, resume: bool = True) -> None:
        model = BayesianNetwork(nn.Linear(4, 1), Normal(scale))
        fit(PointEstimate(model), data, epochs=1, progress=False, checkpoint=tmp_path / "c.pt", resume=resume)

    data = torch.randn(9, 4), torch.randn(9)
    for first, others in ((0.5, (0.3, None)), (None, (1.0, 0.5))):
        train(first, resume=False)
        train(first)
        for other in others:
            with refuses(ANYTHING, ANYTHING, "likelihood") as error:
                train(other)
            assert list(error.value.value) == ["likelihood"]


def test_priors_are_told_apart_by_their_parameters() -> None:
    def found(scale: float) -> dict[str, Any]:
        model = BayesianNetwork(nn.Linear(4, 1), prior=lambda shape: dist.Normal(torch.zeros(shape), scale))
        return pair_identity(PointEstimate(model))

    assert found(1.0) == found(1.0) != found(2.0)


def test_the_mode_of_what_is_trained_is_no_part_of_it(tmp_path: Path) -> None:
    """Training sets it. What is only used, such as a dropout of the inputs, acts as its mode says."""
    model = BayesianNetwork(nn.Linear(4, 1), Normal())
    guide = PointEstimate(model)
    data = torch.randn(9, 4), torch.randn(9)
    options: dict[str, Any] = {"progress": False, "checkpoint": tmp_path / "c.pt", "epochs": 2}
    first = fit(guide, data, **options)
    for mode in (model.eval, model.train, model.likelihood.eval):
        mode()
        assert len(fit(guide, data, **options, resume=True).history) == len(first.history)
    assert identity("augment", nn.Dropout(0.5)) != identity("augment", nn.Dropout(0.5).eval())
