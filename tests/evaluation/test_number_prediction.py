"""Predictions of numbers: moments and quantiles of the mixture over draws, beside numerical inversion and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import torch.distributions as td
from scipy import stats
from scipy.optimize import brentq
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, evaluate, predict
from pyro_vd.evaluation import NumberPrediction, Prediction
from pyro_vd.evaluation.cdf import cdf
from pyro_vd.evaluation.mixture import KeptDraws, Mixture
from pyro_vd.guides import PointEstimate
from pyro_vd.models import (
    Categorical,
    HeteroscedasticNormal,
    MixtureOfNormals,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    Weighted,
)
from pyro_vd.posterior import predictive

X = torch.linspace(-1, 1, 12).reshape(6, 2).double()


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


NORMALS = [(-3.0, 0.2), (0.0, 1.0), (4.0, 0.5)]


def test_quantiles_of_a_mixture_are_those_of_numerical_inversion() -> None:
    mixture = Mixture([td.Normal(torch.tensor([m, m + 100], dtype=torch.float64), s) for m, s in NORMALS])
    for level in (1e-6, 0.05, 0.3, 0.5, 0.9, 1 - 1e-6):

        def excess(y: float, level: float = level) -> float:
            return float(np.mean([stats.norm.cdf(y, mean, sd) for mean, sd in NORMALS]) - level)

        inverse = brentq(excess, -20, 20, xtol=1e-13)
        wanted = torch.tensor([inverse, inverse + 100], dtype=torch.float64)
        torch.testing.assert_close(mixture.quantile(level), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("level", [0.001, 0.05, 0.5, 0.77, 0.999])
def test_quantiles_of_counts_are_scipys(level: float) -> None:
    rate = torch.tensor([0.01, 0.8, 3.0, 250.0], dtype=torch.float64)
    found = Mixture([td.Poisson(rate)]).quantile(level)
    assert found.tolist() == stats.poisson.ppf(level, rate.numpy()).tolist()
    binomial = NegativeBinomial(dispersion=0.5)(rate.log())
    found = Mixture([binomial]).quantile(level)
    assert found.tolist() == stats.nbinom.ppf(level, 2.0, 2 / (2 + rate.numpy())).tolist()


KNOWN: dict[str, tuple[Any, Any, list[float]]] = {
    "StudentT": (td.StudentT(3.5, 0.3, 2.0), stats.t(3.5, 0.3, 2.0), [-7.0, 0.3, 1.0, 40.0]),
    "NegativeBinomial": (td.NegativeBinomial(2.5, torch.tensor(0.4)), stats.nbinom(2.5, 0.6), [-1.0, 0.0, 1.0, 7.0]),
    "Poisson": (td.Poisson(3.3), stats.poisson(3.3), [-1.0, 0.0, 1.0, 9.0]),
    "Binomial": (td.Binomial(5, torch.tensor(0.3)), stats.binom(5, 0.3), [-1.0, 0.0, 3.0, 5.0, 6.0]),
    "Gamma": (td.Gamma(2.0, 0.5), stats.gamma(2.0, scale=2.0), [0.1, 3.0]),
}


def test_quantiles_of_few_counts_are_found_from_below_zero() -> None:
    rates = [3.0, 5.0]
    found = Mixture([td.Poisson(torch.tensor(rates))]).quantile(0.05)
    assert found.tolist() == stats.poisson(rates).ppf(0.05).tolist()


@pytest.mark.parametrize("name", KNOWN)
def test_distribution_functions_are_scipys(name: str) -> None:
    ours, theirs, values = KNOWN[name]
    y = torch.tensor(values)
    below, upto = cdf(ours, y)
    np.testing.assert_allclose(upto, theirs.cdf(values), rtol=1e-5, atol=1e-7)
    smaller = np.asarray(values) - 1 if ours.support.is_discrete else np.asarray(values)
    np.testing.assert_allclose(below, theirs.cdf(smaller), rtol=1e-5, atol=1e-7)
    several = torch.vmap(lambda shift: cdf(ours, y + shift)[1])(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(several, torch.stack([cdf(ours, y)[1], cdf(ours, y + 1)[1]]))


LIKELIHOODS: dict[str, tuple[Any, int]] = {
    "normal": (Normal(0.7), 1),
    "normals": (Normal(0.7), 3),
    "heteroscedastic": (HeteroscedasticNormal(), 4),
    "student": (StudentT(df=4.0, scale=0.5), 1),
    "mixture": (MixtureOfNormals(2), 6),
    "poisson": (Poisson(), 2),
    "negative binomial": (NegativeBinomial(0.3), 1),
    "weighted": (Weighted(Normal(0.7)), 1),
    "torch": (lambda output: td.Independent(td.LogNormal(output, 0.3), 1), 2),
}
every_likelihood = pytest.mark.parametrize(("likelihood", "outputs"), LIKELIHOODS.values(), ids=LIKELIHOODS)


@every_likelihood
def test_a_plain_network_predicts_its_distribution(likelihood: Any, outputs: int) -> None:
    """Mean, variance and quantiles beside those of 40,000 samples."""
    torch.manual_seed(1)
    net = nn.Linear(2, outputs).double()
    found = predict(net, X, likelihood=likelihood)
    assert isinstance(found, NumberPrediction)
    assert found.epistemic is None
    y = likelihood(net(X).detach()).sample((40_000,))
    assert found.mean.shape == y.shape[1:]
    error = y.std(0) / 200
    assert ((y.mean(0) - found.mean).abs() < 5 * error).all()
    low, high = found.interval(0.8)
    for quantile, level in ((low, 0.1), (high, 0.9)):
        error = math.sqrt(0.09 / 40_000)
        assert ((y <= quantile).double().mean(0) >= level - 5 * error).all()
        assert ((y < quantile).double().mean(0) <= level + 5 * error).all()
    torch.testing.assert_close(found.sd, y.std(0), rtol=0.2, atol=0)


@every_likelihood
def test_draws_of_a_guide_are_a_mixture(likelihood: Any, outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The law of total variance, and the quantiles of the components, whatever rows and draws run at a time."""
    guide = VariationalDropout(BayesianNetwork(nn.Linear(2, outputs).double(), likelihood), log_sigma2=-2.0)
    torch.manual_seed(2)
    found = predict(guide, X, num_samples=9)
    components = found.mixture.components
    assert len(components) == 9
    means = torch.stack([component.mean for component in components])
    variances = torch.stack([component.variance for component in components])
    torch.testing.assert_close(found.mean, means.mean(0))
    torch.testing.assert_close(found.epistemic, (means - means.mean(0)).square().mean(0))
    torch.testing.assert_close(found.sd**2, (variances + means**2).mean(0) - means.mean(0) ** 2)
    assert (found.epistemic > 0).all()
    for level in (0.05, 0.6):
        y = found.quantile(level)
        upto = torch.stack([cdf(component, y)[1] for component in components]).mean(0)
        below = torch.stack([cdf(component, y)[0] for component in components]).mean(0)
        assert (upto >= level - 1e-9).all()
        assert (below <= level + 1e-9).all()
    torch.manual_seed(2)
    monkeypatch.setattr("pyro_vd.evaluation.memory.MOST_ROWS", 1)
    monkeypatch.setattr("pyro_vd.evaluation.memory.MOST_DRAWS", 2)
    again = predict(guide, X, num_samples=9)
    torch.testing.assert_close(again.mean, found.mean)
    torch.testing.assert_close(again.quantile(0.3), found.quantile(0.3))


def test_a_point_has_no_epistemic_part() -> None:
    guide = PointEstimate(BayesianNetwork(nn.Linear(2, 1).double(), Normal(0.5)))
    found = predict(guide, X, num_samples=4)
    assert found.epistemic.max() < 1e-24
    torch.testing.assert_close(found.aleatoric, torch.full((6,), 0.25).double())
    low, high = found.interval(0.9)
    torch.testing.assert_close((high - low) / 2, torch.full((6,), 0.5 * stats.norm.ppf(0.95)).double(), rtol=1e-6, atol=0)
    assert "sd 0.5" in repr(found)


def test_intervals_are_those_that_evaluate_counts() -> None:
    torch.manual_seed(3)
    net, y = Fixed(), 0.7 * torch.randn(500) + 1
    x = torch.ones(500, 1)
    low, high = predict(net, x, likelihood=Normal(0.6)).interval(0.5)
    inside = ((y >= low) & (y <= high)).double().mean().item()
    assert evaluate(net, (x, y), likelihood=Normal(0.6)).coverage_50 == pytest.approx(inside)


def test_several_heads_are_predicted_by_name() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.label, self.size = nn.Linear(2, 3).double(), nn.Linear(2, 1).double()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"label": self.label(x), "size": self.size(x)}

    net = Two()
    guide = VariationalDropout(BayesianNetwork(net, {"label": Categorical(), "size": Normal(0.4)}), log_sigma2=-9.0)
    found = predict(guide, X, num_samples=200)
    assert isinstance(found["label"], Prediction)
    assert isinstance(found["size"], NumberPrediction)
    assert found["label"].mutual_information.shape == (6,)
    with refuses("guide", ["label", "size"], "predict gives"):
        predictive(guide, X)
    plain = predict(net, X, likelihood=guide.model.likelihood)
    torch.testing.assert_close(plain["size"].mean, net.size(X)[:, 0].detach())
    torch.testing.assert_close(found["label"].log_p, plain["label"].log_p, rtol=0.05, atol=0.05)


class NoFunction(dist.Normal):
    """A distribution without a variance and a distribution function."""

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        raise NotImplementedError


def test_what_is_not_known_is_said() -> None:
    found = predict(Fixed(), X[:, :1], likelihood=lambda output: NoFunction(output[:, 0], 1.0))
    torch.testing.assert_close(found.mean, X[:, 0])
    assert found.sd.isnan().all()
    with refuses("likelihood", "NoFunction", "distribution function"):
        found.quantile(0.5)
    for level in (0, 1, -0.1, math.nan, "0.5"):
        with refuses("level", ANYTHING):
            predict(Fixed(), X[:, :1], likelihood=Normal()).quantile(level)


def test_tensors_that_all_examples_share_are_kept_once() -> None:
    """A transform of numbers, and a scale without a dimension for the examples."""
    kept = KeptDraws()
    base = td.TransformedDistribution(td.Normal(torch.zeros(3, 2), 1.0), [td.AffineTransform(torch.tensor([1.0, 2.0]), 3.0)])
    draws = {name: torch.stack([value, value + 1]) for name, value in kept.tensors(td.Independent(base, 1)).items()}
    first, second = kept.mixture(draws).components
    torch.testing.assert_close(first.cdf(torch.ones(3, 2)), base.cdf(torch.ones(3, 2)))
    assert (second.cdf(torch.ones(3, 2)) != base.cdf(torch.ones(3, 2))).all()
