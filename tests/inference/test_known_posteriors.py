"""The guide against posteriors that are known: in closed form, by integration, and by Pyro's NUTS on the very same model."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from prior_support import GaussianPrior
from pyro.infer import MCMC, NUTS
from scipy.optimize import minimize
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, log_alpha
from pyro_vd.distributions import LogUniform
from pyro_vd.distributions.kl import kl_exact
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD

N, COPIES, NOISE, SCALE = 64, 100, 0.8, 1.5
"""Examples; independent copies of one problem, an output unit each; deviations of the noise and of the prior."""
ERROR = NOISE / math.sqrt(N)
"""Standard error of a weight where the inputs are orthogonal."""


def design(covariance: Tensor) -> Tensor:
    """Inputs ``(N, d)`` with xᵀx = N · covariance exactly."""
    basis = torch.linalg.qr(torch.randn(N, len(covariance)))[0]
    return math.sqrt(N) * basis @ torch.linalg.cholesky(covariance).T


def regression(x: Tensor, prior: Callable[[torch.Size], dist.TorchDistribution], start: Tensor) -> BayesianNetwork:
    """Linear regression, as many times as there are copies; the weights start at ``start``."""
    net = nn.Linear(x.shape[1], COPIES, bias=False)
    net.weight.data[:] = start
    return BayesianNetwork(net, lambda output: dist.Normal(output, NOISE).to_event(1), prior=prior)


def fitted(model: BayesianNetwork, x: Tensor, y: Tensor, steps: int = 600) -> VariationalDropout:
    """The guide after training on all data at once, the learning rate falling to 0."""
    guide = VariationalDropout(model, log_sigma2=-6.0)
    loss_of = VariationalDropoutELBO()(model, guide)
    optimizer = torch.optim.Adam(loss_of.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, power=2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(x, y).backward()
        optimizer.step()
        schedule.step()
    return guide


def check_mean(values: Tensor, known: Tensor, sharp: Tensor | float) -> None:
    """The copies' mean is the known value within 4.5 standard errors, which are small."""
    error = values.std(0) / math.sqrt(len(values))
    assert ((values.mean(0) - known).abs() < 4.5 * error).all()
    assert (error < sharp).all()


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_gaussian_posterior(correlation: float) -> None:
    """Orthogonal inputs: means and variances are exact. Correlated: means are, variances are 1/precision, too small."""
    covariance = torch.full((2, 2), correlation).fill_diagonal_(1.0)
    x = design(covariance)
    y = x @ torch.tensor([1.0, -0.5]) + NOISE * torch.randn(N)
    precision = x.T @ x / NOISE**2 + torch.eye(2) / SCALE**2
    exact = torch.linalg.inv(precision)
    mean = exact @ x.T @ y / NOISE**2
    model = regression(x, lambda shape: GaussianPrior(torch.zeros(shape), SCALE), torch.zeros(2))
    q = fitted(model, x, y[:, None].expand(N, COPIES)).posterior("weight")
    check_mean(q.mean.detach(), mean, 0.01 * ERROR)
    check_mean(q.log_sigma2.detach(), -precision.diagonal().log(), 0.01)
    ratio = q.variance.mean(0) / exact.diagonal()
    assert ratio.tolist() == pytest.approx([1 - correlation**2] * 2, rel=0.03), "a prior this wide changes little"


def by_integration(estimate: float, lowest: float) -> tuple[float, float, float]:
    """Mean, variance and P(|w| < a standard error) under the prior 1/|w| on [lowest, 10], exactly, on a grid in log|w|."""
    size = torch.linspace(math.log(lowest), math.log(10.0), 400_001, dtype=torch.float64).exp()
    w = torch.cat([-size.flip(0), size])
    mass = (-0.5 * ((w - estimate) / ERROR).square()).softmax(0)  # dw/|w| is d log|w|
    mean = (mass * w).sum()
    return mean.item(), (mass * (w - mean).square()).sum().item(), mass[w.abs() < ERROR].sum().item()


def test_log_uniform_prior_keeps_and_removes_as_the_truncated_posterior() -> None:
    """It is improper; cut off at both ends it has a posterior, a weight at a time where the inputs are orthogonal."""
    z = torch.tensor([20.0, -10.0, 6.0, 0.5, 0.0])
    x = design(torch.eye(len(z)))
    y = x @ (z * ERROR)  # so that these are the estimates of least squares, in standard errors
    model = regression(x, partial(LogUniform, kl="exact"), z * ERROR)
    guide = fitted(model, x, y[:, None].expand(N, COPIES))
    q, removed = guide.posterior("weight"), log_alpha(guide)["weight"] >= DEFAULT_THRESHOLD
    assert (removed == removed[0]).all(), "no copy decides otherwise"
    for index, estimate in enumerate((z * ERROR).tolist()):
        for lowest in (1e-4, 1e-8):
            mean, variance, negligible = by_integration(estimate, lowest)
            assert removed[0, index].item() == (negligible > 0.5), f"at {z[index]} standard errors, cut off at {lowest}"
            if not removed[0, index]:
                assert negligible < 1e-4
                assert abs(q.mean[:, index].mean().item() - mean) < 0.02 * ERROR
                assert q.variance[:, index].mean().item() == pytest.approx(variance, rel=0.05)
    assert (q.mean[:, removed[0]].abs() < 0.1 * ERROR).all()
    assert removed[0].tolist() == [False, False, False, True, True]


def test_how_far_a_weight_is_shrunk() -> None:
    """The figures of docs/posterior-quality.md: the optimum by minimising the known objective over θ and log σ²."""
    z = torch.tensor([1.3, 2.0, 4.0])
    x = design(torch.eye(3))
    y = x @ (z * ERROR)
    guide = fitted(regression(x, partial(LogUniform, kl="exact"), z * ERROR), x, y[:, None].expand(N, COPIES), steps=1000)
    for index, estimate in enumerate(z.tolist()):

        def objective(at: np.ndarray, estimate: float = estimate) -> float:
            theta, log_sigma2 = torch.from_numpy(at)
            return float(((theta - estimate) ** 2 + log_sigma2.exp()) / 2 + kl_exact(theta, log_sigma2))

        theta, log_sigma2 = minimize(objective, (estimate, 0.0), method="Nelder-Mead").x  # in standard errors
        assert 1 - theta / estimate == pytest.approx((0.72, 0.39, 0.08)[index], abs=0.01)
        assert log_sigma2 - math.log(theta**2) == pytest.approx((0.95, -0.44, -2.50)[index], abs=0.01)
        learnt = guide.posterior("weight").mean[:, index].mean().item() / ERROR
        assert learnt == pytest.approx(theta, abs=0.05)


@pytest.mark.slow
def test_logistic_regression_against_nuts() -> None:
    """NUTS takes the model as it is. The posterior is nearly normal and its weights nearly independent."""
    x, copies = design(torch.eye(3)), 20
    y = torch.bernoulli(torch.sigmoid(x @ torch.tensor([1.0, -0.5, 0.0])))[:, None].expand(N, copies)
    net = nn.Linear(3, copies, bias=False)
    model = BayesianNetwork(
        net,
        lambda output: dist.Bernoulli(logits=output).to_event(1),
        prior=lambda shape: GaussianPrior(torch.zeros(shape), SCALE),
    )
    q = fitted(model, x, y).posterior("weight")
    chain = MCMC(NUTS(model), num_samples=150, warmup_steps=100, disable_progbar=True)
    chain.run(x, y)
    draws = chain.get_samples()["weight"]
    mean, variance = draws.mean((0, 1)), draws.var((0, 1))
    deviation = variance.sqrt()
    by_copy = draws.mean(0).std(0) / math.sqrt(copies)  # copies are independent chains
    assert ((q.mean.mean(0) - mean).abs() < 4.5 * by_copy + 0.1 * deviation).all()
    assert (by_copy < 0.05 * deviation).all()
    assert (q.variance.mean(0) / variance).tolist() == pytest.approx([1.0] * 3, abs=0.15)
