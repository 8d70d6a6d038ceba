"""Predicted scales, Student's t, negative binomial counts and mixtures: densities beside scipy's, fits to simulated data."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from scipy import stats
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, choose_threshold, evaluate, fit, predict
from pyro_vd.evaluation.observations import check_observations
from pyro_vd.guides import PointEstimate
from pyro_vd.models import HeteroscedasticNormal, MixtureOfNormals, NegativeBinomial, StudentT

N = 6


def scipy_log_prob(name: str, output: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The log density of each example's number, by scipy."""
    if name == "heteroscedastic":
        return stats.norm.logpdf(y, output[:, 0], np.exp(output[:, 1]))
    if name == "student":
        return stats.t.logpdf(y, 3.5, output[:, 0], 0.4)
    if name == "negative binomial":
        mean, total = np.exp(output[:, 0]), 1 / 0.3
        return stats.nbinom.logpmf(y, total, total / (total + mean))
    weights = np.exp(output[:, :2]) / np.exp(output[:, :2]).sum(1, keepdims=True)
    return np.log((weights * stats.norm.pdf(y[:, None], output[:, 2:4], np.exp(output[:, 4:]))).sum(1))


EVERY: dict[str, tuple[Any, int]] = {
    "heteroscedastic": (HeteroscedasticNormal(), 2),
    "student": (StudentT(df=3.5, scale=0.4), 1),
    "negative binomial": (NegativeBinomial(dispersion=0.3), 1),
    "mixture": (MixtureOfNormals(2), 6),
}
every_likelihood = pytest.mark.parametrize("name", EVERY)


@every_likelihood
def test_log_probability_is_scipys(name: str) -> None:
    likelihood, outputs = copy.deepcopy(EVERY[name])
    if isinstance(likelihood, nn.Module):
        likelihood.double()  # in float32, exp(log scale) alone is off by a relative 6e-8, which log p near 0 multiplies
    torch.manual_seed(1)
    output = torch.randn(N, outputs, dtype=torch.float64)
    y = torch.arange(N).double() if name == "negative binomial" else torch.randn(N, dtype=torch.float64)
    found = likelihood(output).log_prob(y)
    np.testing.assert_allclose(found.numpy(), scipy_log_prob(name, output.numpy(), y.numpy()), rtol=1e-6)


@every_likelihood
def test_several_numbers_add_up(name: str) -> None:
    """Two numbers per example have the sum of their log densities, each from its own part of the output."""
    likelihood, outputs = EVERY[name]
    torch.manual_seed(2)
    parts = torch.randn(2, N, outputs)
    if name == "heteroscedastic":
        output = torch.cat([parts[0, :, :1], parts[1, :, :1], parts[0, :, 1:], parts[1, :, 1:]], 1)
    else:
        output = torch.cat([*parts], 1) if outputs == 1 else parts.movedim(0, 1)
    y = torch.randint(5, (N, 2)).float()
    distribution = likelihood(output)
    assert (distribution.batch_shape, distribution.event_shape) == ((N,), (2,))
    alone = [likelihood(part).log_prob(y[:, k]) for k, part in enumerate(parts)]
    torch.testing.assert_close(distribution.log_prob(y), sum(alone))


def test_mean_and_variance_of_counts() -> None:
    output = torch.tensor([[0.3], [1.5]])
    found, mean = NegativeBinomial(dispersion=0.3)(output), output[:, 0].exp()
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.variance, mean + 0.3 * mean**2)


def trained(likelihood: Any, x: Tensor, y: Tensor, outputs: int) -> BayesianNetwork:
    model = BayesianNetwork(nn.Linear(x.shape[1], outputs), likelihood)
    guide = PointEstimate(model)
    fit(guide, (x, y), epochs=600, batch_size=len(x), lr=0.05, progress=False)
    with torch.no_grad():
        model.found = guide.mean("weight").clone()
    return model


def test_a_scale_is_predicted() -> None:
    """log scale = 0.5 + 0.8 x is found, within standard errors of 1/√(2 n)."""
    torch.manual_seed(3)
    x = torch.randn(4000, 1)
    y = 2 * x[:, 0] + (0.5 + 0.8 * x[:, 0]).exp() * torch.randn(4000)
    model = trained(HeteroscedasticNormal(), x, y, 2)
    assert abs(model.found[1, 0].item() - 0.8) < 4 / math.sqrt(2 * 4000)


def test_degrees_of_freedom_and_scale_are_learnt() -> None:
    torch.manual_seed(4)
    x = torch.randn(6000, 1)
    y = x[:, 0] + 0.5 * td.StudentT(4.0).sample((6000,))
    likelihood = StudentT()
    trained(likelihood, x, y, 1)
    df, _, scale = stats.t.fit((y - x[:, 0]).numpy())
    assert likelihood.df == pytest.approx(df, rel=0.1)
    assert likelihood.scale == pytest.approx(scale, rel=0.03)
    assert likelihood.options == {"df": likelihood.df, "scale": likelihood.scale}


def test_a_dispersion_is_learnt() -> None:
    torch.manual_seed(5)
    x, n = torch.randn(6000, 1), 6000
    y = NegativeBinomial(dispersion=0.7)(0.5 + 0.4 * x).sample()
    likelihood = NegativeBinomial(initial_dispersion=0.1)
    model = trained(likelihood, x, y, 1)
    assert likelihood.dispersion == pytest.approx(0.7, rel=0.15)
    assert abs(model.found.item() - 0.4) < 5 * math.sqrt((1 / 1.5 + 0.7) / n)


def function_of_torch(output: Tensor) -> td.Distribution:
    return td.Laplace(output[:, 0], 0.5)


class ObjectOfTorch:
    def __call__(self, output: Tensor) -> td.Distribution:
        return td.Independent(td.LogNormal(output, 0.5), 1)


@pytest.mark.parametrize(
    ("likelihood", "outputs"), [(function_of_torch, 1), (lambda output: td.Gumbel(output[:, 0], 1.0), 1), (ObjectOfTorch(), 2)]
)
def test_any_map_to_a_distribution_of_torch_is_trained_and_measured(likelihood: Any, outputs: int) -> None:
    torch.manual_seed(6)
    x = torch.randn(60, 3)
    y = likelihood(x @ torch.randn(3, outputs)).sample()
    guide = VariationalDropout(BayesianNetwork(nn.Linear(3, outputs), likelihood), log_sigma2=-6.0)
    history = fit(guide, (x, y), (x, y), epochs=10, batch_size=20, lr=0.05, progress=False).history
    assert history[-1].data_term < history[0].data_term
    assert history[-1].score_name == "rmse"
    assert choose_threshold(guide, (x, y), 0.5).threshold is not None
    net = guide.model.to_module({name: guide.mean(name) for name in guide.site_names})
    assert evaluate(net, (x, y), likelihood=likelihood).rmse == pytest.approx(evaluate(guide, (x, y)).rmse, rel=0.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda output: td.Poisson(output[:, 0].exp()),
        lambda output: td.Uniform(output[:, 0], output[:, 0] + 2.0),
        lambda output: td.Gumbel(output[:, 0], 0.5),
        lambda output: td.LogNormal(output[:, 0], 0.5),
    ],
)
def test_quantiles_of_distributions_of_torch(make: Any) -> None:
    """Also of those that Pyro's constructor gives attributes of its own, and of those that keep inverses of transforms."""
    torch.manual_seed(7)
    x = torch.randn(8, 3)
    net = nn.Linear(3, 1)
    distribution = make(net(x).detach())
    guide = VariationalDropout(BayesianNetwork(net, make), log_sigma2=-60.0)
    model = guide.model
    assert torch.allclose(
        VariationalDropoutELBO(0.0)(model, guide)(x, y := distribution.sample()), -distribution.log_prob(y).sum()
    )
    q = predict(guide, x, num_samples=2).quantile(0.3)
    assert (distribution.sample((4000,)) < q).double().mean(0).sub(0.3).max() < 0.04  # 5 standard errors
    assert (distribution.sample((4000,)) <= q).double().mean(0).sub(0.3).min() > -0.04


def test_what_is_no_distribution_is_refused() -> None:
    model = BayesianNetwork(nn.Linear(3, 1), lambda output: output[:, 0])
    with refuses("likelihood", ANYTHING, "Tensor"):
        model(torch.randn(4, 3))
    with refuses(ANYTHING, ANYTHING):
        fit(PointEstimate(model), (torch.randn(4, 3), torch.randn(4)), epochs=1, progress=False)


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (lambda: StudentT(df=2), "df", 2),
        (lambda: StudentT(initial_df=1.0), "initial_df", 1.0),
        (lambda: StudentT(scale=0), "scale", 0),
        (lambda: NegativeBinomial(dispersion=-1.0), "dispersion", -1.0),
        (lambda: NegativeBinomial(initial_dispersion=math.inf), "initial_dispersion", math.inf),
        (lambda: MixtureOfNormals(0), "components", 0),
        (lambda: MixtureOfNormals(2)(torch.zeros(4, 5)), "the output's shape", (4, 5)),
        (lambda: HeteroscedasticNormal()(torch.zeros(4, 3)), "the output's shape", (4, 3)),
    ],
)
def test_wrong_arguments_are_quoted(make: Any, name: str, value: object) -> None:
    with refuses(name, value):
        make()


@pytest.mark.parametrize(("name", "wrong"), [("negative binomial", -1.0), ("negative binomial", 0.5), ("mixture", math.inf)])
def test_impossible_numbers_are_quoted(name: str, wrong: float) -> None:
    likelihood, outputs = EVERY[name]
    with refuses("data", wrong, "example 1"):
        check_observations("data", torch.tensor([1.0, wrong, 2.0]), likelihood, torch.randn(3, outputs))
