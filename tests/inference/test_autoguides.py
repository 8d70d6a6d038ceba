"""Further latent sites under guides of Pyro's: the ELBO is the one that theory gives, and everything is trained."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from autoguide_support import SD, TAU, N, X, Y, shift_model
from pyro.infer import SVI
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuideList,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
)
from pyro.optim import ClippedAdam
from torch import Tensor

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
from pyro_vd.guides import PointEstimate


def residuals(network: BayesianNetwork) -> Tensor:
    return (Y - network.output(network.initial_weights, X)[:, 0]).double()


def evidence(r: Tensor) -> float:
    """log ∫ N(r; a, SD²) N(a; 0, τ²) da."""
    covariance = SD**2 * torch.eye(N, dtype=r.dtype) + TAU**2
    return torch.distributions.MultivariateNormal(torch.zeros(N, dtype=r.dtype), covariance).log_prob(r).item()


def exact_posterior(r: Tensor) -> tuple[float, float]:
    variance = 1 / (N / SD**2 + 1 / TAU**2)
    return variance * r.sum().item() / SD**2, math.sqrt(variance)


AUTO = {
    "normal": AutoNormal,
    "diagonal": AutoDiagonalNormal,
    "multivariate": AutoMultivariateNormal,
    "low-rank": AutoLowRankMultivariateNormal,
    "messenger": AutoNormalMessenger,
}


@pytest.mark.parametrize("kind", AUTO)
def test_at_the_exact_posterior_the_loss_is_minus_the_log_evidence(kind: str) -> None:
    network, model = shift_model()
    weights, rest = PointEstimate(network), AUTO[kind](poutine.block(model, hide=network.weight_names))

    def guide(x: Tensor, y: Tensor | None = None) -> None:
        weights(x, y)
        rest(x, y)

    elbo = VariationalDropoutELBO()
    elbo.loss(model, guide, X, Y)
    mean, sd = exact_posterior(residuals(network))
    set_normal(kind, rest, mean, sd)
    losses = [elbo.loss(model, guide, X, Y) for _ in range(20)]
    assert losses == pytest.approx([-evidence(residuals(network))] * 20, abs=2e-4), "whatever is drawn: log p(y, a) − log q(a)"
    set_normal(kind, rest, mean + 0.3, 2 * sd)
    kl = math.log(1 / 2) + (4 * sd**2 + 0.09) / (2 * sd**2) - 0.5
    losses_off = torch.tensor([elbo.loss(model, guide, X, Y) for _ in range(1000)])
    error = losses_off.std().item() / len(losses_off) ** 0.5
    assert abs(losses_off.mean().item() - (kl - evidence(residuals(network)))) < 4.5 * error


def set_normal(kind: str, rest: Any, mean: float, sd: float) -> None:
    """Set the one normal distribution of an autoguide."""
    with torch.no_grad():
        if kind in ("normal", "messenger"):
            rest.locs.a = torch.tensor(mean)
            rest.scales.a = torch.tensor(sd)
            return
        rest.loc.fill_(mean)
        if kind == "low-rank":
            rest.cov_factor.zero_()
        rest.scale = torch.tensor([sd])
        if kind == "multivariate":
            rest.scale_tril = torch.eye(1)


def gamma_model(x: Tensor) -> None:
    """A site that is positive, so that an autoguide transforms it: y ~ N(0, 1/λ), λ ~ Gamma."""
    precision = pyro.sample("precision", dist.Gamma(3.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(0.0, precision.rsqrt()), obs=x)


@pytest.mark.parametrize("kind", [AutoNormal, AutoDiagonalNormal])
def test_the_density_of_a_transformed_site_is_in_the_loss(kind: Any) -> None:
    x = Y[:8]
    guide, elbo = kind(gamma_model), VariationalDropoutELBO()
    guide(x)
    m, s = 0.3, 0.2
    if kind is AutoNormal:
        guide.locs.precision, guide.scales.precision = torch.tensor(m), torch.tensor(s)
    else:
        guide.loc.data.fill_(m)
        guide.scale = torch.tensor([s])
    losses = torch.tensor([elbo.loss(gamma_model, guide, x) for _ in range(2000)])
    mean = math.exp(m + s**2 / 2)  # of λ = exp(N(m, s²)), whose entropy is that of the normal plus m
    entropy = 0.5 * math.log(2 * math.pi * math.e * s**2) + m
    log_prior = 3 * math.log(2) - math.lgamma(3) + 2 * m - 2 * mean
    log_likelihood = 8 * (m - math.log(2 * math.pi)) / 2 - mean * x.square().sum().item() / 2
    expected = -(log_likelihood + log_prior + entropy)
    assert abs(losses.mean().item() - expected) < 4.5 * losses.std().item() / len(losses) ** 0.5


@pytest.mark.parametrize("way", ["list", "function", "module"])
def test_a_list_a_function_and_a_module_train_all_their_parts(way: str) -> None:
    network, model = shift_model()
    weights, rest = VariationalDropout(network, log_sigma2=-6.0), AutoNormal(poutine.block(model, hide=network.weight_names))
    if way == "list":
        guide: Any = AutoGuideList(model)
        guide.append(weights)
        guide.append(rest)
    elif way == "function":

        def guide(x: Tensor, y: Tensor | None = None) -> None:
            weights(x, y)
            rest(x, y)
    else:
        guide = weights
        guide.append(rest)
    elbo = VariationalDropoutELBO()
    elbo.loss(model, guide, X, Y)
    before = {name: value.detach().clone() for name, value in pyro.get_param_store()._params.items()}
    svi = SVI(model, guide, ClippedAdam({"lr": 0.02, "lrd": 0.995}), loss=elbo)
    losses = [svi.step(X, Y) for _ in range(500)]
    assert all((pyro.get_param_store()._params[name] != value).any() for name, value in before.items())
    assert sum(losses[-50:]) < sum(losses[:50])
    mean, sd = exact_posterior((Y - weights.mean("0.weight").detach() @ X.T)[0].double())
    assert rest.median()["a"].item() == pytest.approx(mean, abs=0.1)
    assert rest.scales.a.item() == pytest.approx(sd, rel=0.2)


def test_a_map_estimate_of_other_sites_is_the_log_joint() -> None:
    network, model = shift_model()
    rest = AutoDelta(poutine.block(model, hide=network.weight_names))
    guide = PointEstimate(network)
    guide.append(rest)
    elbo = VariationalDropoutELBO()
    elbo.loss(model, guide, X, Y)
    a = rest.median()["a"].double()
    joint = dist.Normal(0.0, TAU).log_prob(a) + dist.Normal(a, SD).log_prob(residuals(network)).sum()
    assert elbo.loss(model, guide, X, Y) == pytest.approx(-joint.item(), rel=1e-5)


def test_a_guide_in_another_order_than_the_prior_is_right_in_mean() -> None:
    """z | u in the model, u | z in the guide: KL(q(z)‖p(z|u)) for the drawn u is not."""
    slope = 0.8

    def model() -> None:
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        pyro.sample("z", dist.Normal(u, 1.0))

    def guide() -> None:
        z = pyro.sample("z", dist.Normal(0.5, 1.2))
        pyro.sample("u", dist.Normal(slope * z, 0.6))

    losses = torch.tensor([VariationalDropoutELBO().loss(model, guide) for _ in range(4000)])
    m, s2, v2 = 0.5, 1.2**2, 0.6**2  # E log q − E log p of two joint normals
    entropy = 0.5 * math.log(2 * math.pi * math.e * s2) + 0.5 * math.log(2 * math.pi * math.e * v2)
    u2 = slope**2 * (s2 + m**2) + v2
    difference2 = (1 - slope) ** 2 * (s2 + m**2) + v2
    expected = -entropy + math.log(2 * math.pi) + 0.5 * (u2 + difference2)
    assert abs(losses.mean().item() - expected) < 4.5 * losses.std().item() / len(losses) ** 0.5


def test_a_factor_of_the_guide_adds_its_number() -> None:
    def guide() -> None:
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("f", torch.tensor(0.3), has_rsample=True)

    assert VariationalDropoutELBO().loss(lambda: pyro.sample("z", dist.Normal(0.0, 1.0)), guide) == pytest.approx(0.3)
