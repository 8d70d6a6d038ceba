"""Likelihoods of numbers, counts, and zeros and ones: their densities by hand, and their fits to simulated data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import Adam
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Bernoulli, Categorical, Normal, Poisson
from pyro_vd.models.likelihood_files import describe, likelihood_of

EVERY = {"normal": Normal(0.7), "learnt": Normal(initial_scale=2.0), "poisson": Poisson(), "bernoulli": Bernoulli()}
every_likelihood = pytest.mark.parametrize("name", EVERY)


def observations(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape) if name in ("normal", "learnt") else torch.randint(2, shape).float()


def log_prob(name: str, f: Tensor, y: Tensor) -> Tensor:
    """The log probability of each number, from the formula."""
    if name == "poisson":
        return y * f - f.exp() - (y + 1).lgamma()
    if name == "bernoulli":
        p = 1 / (1 + (-f).exp())
        return (p**y * (1 - p) ** (1 - y)).log()
    scale = 0.7 if name == "normal" else 2.0
    return -0.5 * ((y - f) / scale) ** 2 - math.log(scale * math.sqrt(2 * math.pi))


@every_likelihood
@pytest.mark.parametrize(("output", "event"), [((5,), ()), ((5, 1), ()), ((5, 3), (3,)), ((5, 2, 3), (2, 3))])
def test_log_probability_by_hand(name: str, output: tuple[int, ...], event: tuple[int, ...]) -> None:
    f, y = torch.randn(output), observations(name, (5, *event))
    distribution = EVERY[name](f)
    assert (distribution.batch_shape, distribution.event_shape) == ((5,), event)
    by_hand = log_prob(name, f.reshape(5, *event), y).reshape(5, -1).sum(1)
    torch.testing.assert_close(distribution.log_prob(y), by_hand)


def trained(likelihood: Any, x: Tensor, y: Tensor, outputs: int = 1, **options: Any) -> tuple[BayesianNetwork, nn.Linear]:
    """A linear model fitted by maximum likelihood."""
    model = BayesianNetwork(nn.Linear(x.shape[1], outputs), likelihood)
    guide = PointEstimate(model)
    fit(guide, (x, y), **{"epochs": 120, "batch_size": len(x), "lr": 0.05, "progress": False, **options})
    return model, model.to_module({"weight": guide.mean("weight")})


def test_a_learnt_scale_is_that_of_the_noise() -> None:
    x, n, noise = torch.randn(2000, 3), 2000, 0.4
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 3 + noise * torch.randn(n)
    model, net = trained(likelihood := Normal(), x, y, epochs=300)
    assert model.likelihood is likelihood
    residuals = y - net(x)[:, 0].detach()
    assert likelihood.scale == pytest.approx(residuals.square().mean().sqrt().item(), rel=1e-3), "maximum likelihood"
    assert abs(likelihood.scale - noise) < 4 * noise / math.sqrt(2 * n)
    assert ((net.weight[0] - torch.tensor([1.0, -2.0, 0.5])).abs() < 4 * noise / math.sqrt(n)).all()
    model, net = trained(Normal(initial_scale=100.0), x, 100 * y, epochs=300, weight_decay=0.01)
    residuals = 100 * y - net(x)[:, 0].detach()
    assert model.likelihood.scale == pytest.approx(residuals.square().mean().sqrt().item(), rel=1e-2), "it does not decay"
    known, _ = trained(Normal(scale=0.5), x, y, epochs=2)
    assert known.likelihood.scale == pytest.approx(0.5), "a known scale stays"


def test_several_outputs_share_a_scale() -> None:
    x = torch.randn(1000, 2)
    y = x @ torch.randn(2, 3) + 0.3 * torch.randn(1000, 3)
    model, _ = trained(Normal(), x, y, outputs=3, epochs=300)
    assert abs(model.likelihood.scale - 0.3) < 4 * 0.3 / math.sqrt(2 * 3000)


@pytest.mark.parametrize("name", ["poisson", "bernoulli"])
@pytest.mark.parametrize("column", [False, True])
def test_coefficients_of_simulated_data_are_found(name: str, column: bool) -> None:
    """Within standard errors from the Fisher information Xᵀ diag(v) X, v the variance of y; integers will do as y."""
    x, truth = torch.randn(3000, 2), torch.tensor([0.5, -0.3, 0.8])
    design = torch.cat([torch.ones(3000, 1), x], 1)
    mean = EVERY[name](design @ truth).mean
    y = torch.poisson(mean) if name == "poisson" else torch.bernoulli(mean)
    _, net = trained(copy.copy(EVERY[name]), x, (y[:, None] if column else y).long(), epochs=200)
    found = torch.cat([net.bias, net.weight[0]]).detach()
    variance = mean if name == "poisson" else mean * (1 - mean)
    errors = torch.linalg.inv(design.T @ (variance[:, None] * design)).diag().sqrt()
    assert ((found - truth).abs() < 4 * errors).all()


def test_svi_trains_the_scale() -> None:
    x = torch.randn(200, 2)
    model = BayesianNetwork(nn.Linear(2, 1), Normal(), num_data=200)
    svi = SVI(model, VariationalDropout(model), Adam({"lr": 0.05}), loss=VariationalDropoutELBO())
    for _ in range(3):
        svi.step(x, x.sum(1))
    assert abs(model.likelihood.log_scale.item()) > 0.1
    pyro.clear_param_store()


BAD: dict[str, tuple[Callable[[], object], tuple[object, ...]]] = {
    "scale 0": (lambda: Normal(scale=0), ("scale", 0)),
    "negative scale": (lambda: Normal(scale=-1.0), ("scale", -1.0)),
    "initial scale NaN": (lambda: Normal(initial_scale=math.nan), ("initial_scale", math.nan)),
    "negative count": (lambda: check(Poisson(), [0.0, 1.0, -1.0, 2.0]), (ANYTHING, ANYTHING, " -1 ", " 2", "Poisson")),
    "half a count": (lambda: check(Poisson(), [0.5, 1.0, 1.0, 2.0]), (ANYTHING, ANYTHING, " 0.5 ", " 0", "Poisson")),
    "2 among zeros and ones": (
        lambda: check(Bernoulli(), [0, 1, 1, 2]),
        (ANYTHING, ANYTHING, " 2 ", " 3", "Bernoulli", "0 or 1"),
    ),
    "NaN": (lambda: check(Normal(), [0.0, math.nan, 1.0, 2.0]), (ANYTHING, ANYTHING, "1 NaN", "example 1")),
    "two numbers for one": (lambda: check(Normal(), [[0.0, 1.0]] * 4), (ANYTHING, ANYTHING, "(4, 2)", "(n,)")),
    "one number for three": (
        lambda: check(Normal(), [0.0, 1.0, 2.0, 3.0], outputs=3),
        (ANYTHING, ANYTHING, "(4,)", "(1, 3)", "(n, 3)"),
    ),
    "bools": (lambda: check(Bernoulli(), [True, False, True, True]), (ANYTHING, ANYTHING, "bool", "Bernoulli")),
    "complex": (lambda: check(Normal(), [1j, 0j, 0j, 0j]), (ANYTHING, ANYTHING, "complex")),
    "unequal lengths": (lambda: check(Normal(), [0.0, 1.0, 2.0]), (ANYTHING, ANYTHING, "4 ", "3 ")),
    "fractions as classes": (lambda: check(Categorical(), [0.0, 1.0, 2.0, 1.0]), (ANYTHING, ANYTHING, "float32", "normal")),
    "unknown name": (lambda: likelihood_of({"likelihood": {"name": "cauchy"}}), ("likelihood", {"name": "cauchy"}, "poisson")),
    "no mapping": (lambda: likelihood_of({"likelihood": 3}), ("likelihood", 3, "poisson")),
    "bad option": (
        lambda: likelihood_of({"likelihood": {"name": "normal", "scale": -1}}),
        ("likelihood", {"name": "normal", "scale": -1}),
    ),
}
"""Calls, each with what its error must be about: the arguments of ``refuses``."""


def check(likelihood: Any, y: list[Any], outputs: int = 1) -> None:
    model = BayesianNetwork(nn.Linear(2, outputs), likelihood)
    fit(PointEstimate(model), (torch.randn(4, 2), torch.tensor(y)), epochs=1, progress=False)


@pytest.mark.parametrize(("build", "about"), BAD.values(), ids=BAD)
def test_bad_input_is_quoted(build: Callable[[], object], about: tuple[object, ...]) -> None:
    with refuses(*about):
        build()


def test_a_file_names_the_listed_likelihoods() -> None:
    read = likelihood_of(describe(Normal(0.3)))
    assert isinstance(read, Normal)
    assert read.scale == pytest.approx(0.3)
    assert likelihood_of(describe(Categorical())) is None

    def other(output: Tensor) -> Any:
        return Categorical()(output)

    with refuses("likelihood", other, "poisson"):
        describe(other)
