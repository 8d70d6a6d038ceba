"""The priors and the posterior as Pyro distributions, and their KLs through torch's registry."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from prior_support import GaussianPrior
from pyro.distributions.torch_distribution import TorchDistribution
from support import ANYTHING, refuses
from torch.distributions import kl_divergence

from pyro_vd import VariationalDropoutELBO
from pyro_vd.distributions import LogUniform, MultiplicativeNormal, NormalARD
from pyro_vd.distributions.kl import kl_approximate, kl_ard, kl_exact


def posterior(*shape: int, dtype: torch.dtype = torch.float64) -> MultiplicativeNormal:
    return MultiplicativeNormal(torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype))


@pytest.mark.parametrize(
    ("prior", "divergence"),
    [
        (LogUniform((4, 3)), kl_approximate),
        (LogUniform((4, 3), kl="approximate"), kl_approximate),
        (LogUniform((4, 3), kl="exact"), kl_exact),
        (NormalARD((4, 3)), kl_ard),
    ],
    ids=["default", "approximate", "exact", "ard"],
)
def test_the_event_shape_says_what_is_summed(prior: TorchDistribution, divergence: object) -> None:
    q = posterior(4, 3)
    by_weight = divergence(q.theta, q.log_sigma2)  # type: ignore[operator]
    assert torch.equal(kl_divergence(q, prior), by_weight)
    assert kl_divergence(q.to_event(1), prior.to_event(1)).shape == (4,)
    torch.testing.assert_close(kl_divergence(q.to_event(1), prior.to_event(1)), by_weight.sum(1))
    torch.testing.assert_close(kl_divergence(q.to_event(2), prior.to_event(2)), by_weight.sum())
    torch.testing.assert_close(kl_divergence(q, prior.expand((4, 3))), by_weight)


@pytest.mark.parametrize("prior", [LogUniform, NormalARD])
def test_kl_broadcasts_posterior_and_prior(prior: type[TorchDistribution]) -> None:
    theta, log_sigma2 = torch.randn(3, 1, requires_grad=True), torch.randn(4, requires_grad=True)
    q = MultiplicativeNormal(theta, log_sigma2)
    whole = kl_divergence(q, prior(()))
    assert whole.shape == q.batch_shape == (3, 4)
    for i in range(3):
        for j in range(4):
            assert torch.allclose(whole[i, j], kl_divergence(MultiplicativeNormal(theta[i, 0], log_sigma2[j]), prior(())))
    assert torch.equal(kl_divergence(q, prior((2, 3, 4))), whole.expand(2, 3, 4))
    grads = torch.autograd.grad(whole.sum(), (theta, log_sigma2))
    full = [x.detach().expand(3, 4).clone().requires_grad_() for x in (theta, log_sigma2)]
    by_entry = torch.autograd.grad(kl_divergence(MultiplicativeNormal(*full), prior(())).sum(), full)
    torch.testing.assert_close(grads, (by_entry[0].sum(1, keepdim=True), by_entry[1].sum(0)))


@pytest.mark.parametrize("prior", [LogUniform((5,)), NormalARD((5,))], ids=["log-uniform", "ard"])
def test_a_point_estimate_costs_nothing(prior: TorchDistribution) -> None:
    assert torch.equal(kl_divergence(dist.Delta(torch.randn(5)), prior), torch.zeros(5))
    assert kl_divergence(dist.Delta(torch.randn(5)).to_event(1), prior.to_event(1)) == 0


def test_posterior_log_prob_is_the_normal_one() -> None:
    q = posterior(4, 3)
    value = torch.randn(7, 4, 3, dtype=torch.float64)
    normal = torch.distributions.Normal(q.theta, q.variance.sqrt())
    torch.testing.assert_close(q.log_prob(value), normal.log_prob(value))
    torch.testing.assert_close(q.to_event(2).log_prob(value), normal.log_prob(value).sum((1, 2)))


def test_variance_is_alpha_times_theta_squared() -> None:
    q = posterior(20)
    torch.testing.assert_close(q.variance, q.log_alpha.exp() * q.theta**2)
    assert MultiplicativeNormal(torch.tensor(0.0), torch.tensor(-8.0)).log_alpha == torch.inf


def test_expand_repeats_every_parameter() -> None:
    q = posterior(3).expand((2, 3))
    assert q.batch_shape == q.rsample().shape == q.log_alpha.shape == (2, 3)
    assert torch.equal(q.mean[0], q.mean[1])
    assert torch.equal(q.variance[0], q.variance[1])
    kept = LogUniform((3,), kl="exact").expand((2, 3))
    assert (kept.kl, kept.batch_shape) == ("exact", (2, 3))
    assert NormalARD((3,)).expand((2, 3)).batch_shape == (2, 3)


def test_nan_parameters_are_refused_where_validated() -> None:
    with pytest.raises(ValueError, match="theta"):
        MultiplicativeNormal(torch.tensor([0.0, torch.nan]), torch.zeros(2), validate_args=True)
    with pytest.raises(ValueError, match="log_sigma2"):
        MultiplicativeNormal(torch.zeros(2), torch.tensor([0.0, torch.nan]), validate_args=True)


def test_log_uniform_density_is_one_over_the_magnitude() -> None:
    w = torch.tensor([-4.0, -0.5, 1.0, 3.0])
    torch.testing.assert_close(LogUniform((4,)).log_prob(w), -w.abs().log())
    assert LogUniform().log_prob(torch.tensor(0.0)) == torch.inf
    assert LogUniform((2, 4)).log_prob(w).shape == (2, 4)
    assert LogUniform((2, 4)).to_event(2).log_prob(w).shape == ()


@pytest.mark.parametrize("method", ["sample", "rsample"])
@pytest.mark.parametrize("prior", [LogUniform, NormalARD])
def test_priors_without_samples_are_named(prior: type[TorchDistribution], method: str) -> None:
    for distribution in (prior((3,)), prior((3,)).to_event(1)):
        with refuses(prior.__name__, ANYTHING, prior.__name__, "pyro.poutine.replay"):
            getattr(distribution, method)()


def test_running_a_model_without_a_guide_names_the_prior() -> None:
    with refuses("LogUniform"):
        pyro.sample("w", LogUniform((3,)).to_event(1))


def test_ard_has_no_density() -> None:
    with refuses("NormalARD"):
        NormalARD((3,)).log_prob(torch.ones(3))


@pytest.mark.parametrize("kl", ["wrong", "", None])
def test_an_unknown_kl_is_quoted(kl: object) -> None:
    with refuses("kl", kl, "'approximate'", "'exact'"):
        LogUniform((3,), kl=kl)  # type: ignore[arg-type]


def test_linear_regression_recovers_the_exact_posterior_and_evidence() -> None:
    n, d, copies, noise, prior = 64, 3, 200, 0.7, 1.5  # as many independent copies of one problem, a row of weights each
    x = math.sqrt(n) * torch.linalg.qr(torch.randn(n, d))[0]  # orthogonal: the posterior factorises
    y = x @ torch.tensor([1.0, -0.5, 0.1]) + noise * torch.randn(n)
    precision = n / noise**2 + prior**-2
    mean, covariance = x.T @ y / noise**2 / precision, noise**2 * torch.eye(n) + prior**2 * x @ x.T
    evidence = dist.MultivariateNormal(torch.zeros(n), covariance).log_prob(y)
    theta = torch.zeros(copies, d, requires_grad=True)
    log_sigma2 = torch.full((copies, d), -6.0, requires_grad=True)

    def model() -> None:
        weight = pyro.sample("w", GaussianPrior(torch.zeros(copies, d), prior).to_event(2))
        pyro.sample("y", dist.Normal(F.linear(x, weight), noise).to_event(2), obs=y[:, None].expand(n, copies))

    def guide() -> None:
        pyro.sample("w", MultiplicativeNormal(theta, log_sigma2).to_event(2))

    elbo = VariationalDropoutELBO()
    optimizer = torch.optim.SGD([{"params": [theta], "lr": 1 / precision}, {"params": [log_sigma2], "lr": 2.0}])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step / 10))
    for _ in range(600):
        optimizer.zero_grad()
        elbo.differentiable_loss(model, guide).backward()
        optimizer.step()
        schedule.step()
    for learnt, exact, sharp in ((theta, mean, 0.01 * precision**-0.5), (log_sigma2, torch.tensor(-math.log(precision)), 0.01)):
        standard_error = learnt.std(0) / copies**0.5
        assert ((learnt.mean(0) - exact).abs() < 4.5 * standard_error).all()
        assert (standard_error < sharp).all()
    theta.data[:], log_sigma2.data[:] = mean, -math.log(precision)
    losses = torch.tensor([elbo.loss(model, guide) for _ in range(100)]) / copies
    assert (losses.mean() + evidence).abs() < 4.5 * losses.std() / 10
