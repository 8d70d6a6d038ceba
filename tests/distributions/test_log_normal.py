"""The truncated log-normal noise of structured Bayesian pruning: draws, moments, KL, gradients, each against integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest
from support import refuses
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vd.distributions import LogNormalUnits, LogUniform, MultiplicativeNormal, NormalARD, TruncatedLogNormal

# μ inside the bounds, at their ends and beyond; σ from hardly any noise to far more than the interval.
PARAMETERS = [
    *[(-10.0, 0.1), (-10.0, 3.0), (-3.0, 1.0), (-0.1, 0.02), (0.0, 0.02), (0.0, 1.0), (0.3, 0.02), (2.0, 0.2), (5.0, 3.0)],
    *[(-20.0, 0.5), (-21.0, 0.5), (-30.0, 5.0), (-10.0, 50.0), (3.0, 200.0), (-60.0, 200.0)],
]
every_parameter = pytest.mark.parametrize(("mu", "sigma"), PARAMETERS)


def noise(mu: float, sigma: float, requires_grad: bool = False) -> tuple[TruncatedLogNormal, Tensor, Tensor]:
    m = torch.tensor(mu, dtype=torch.float64, requires_grad=requires_grad)
    log_sigma2 = torch.tensor(2 * math.log(sigma), dtype=torch.float64, requires_grad=requires_grad)
    return TruncatedLogNormal(m, log_sigma2), m, log_sigma2


class ByIntegration:
    """The same distribution, from nothing but its unnormalised density of y = log z on [−20, 0]."""

    def __init__(self, mu: float, sigma: float) -> None:
        self.mode = min(max(mu, -20.0), 0.0)
        self.log_density = lambda y: -0.5 * ((y - mu) / sigma) ** 2 + 0.5 * ((self.mode - mu) / sigma) ** 2
        self.edges = sorted({-20.0, 0.0, *(self.mode + k * sigma for k in range(-9, 10) if -20 < self.mode + k * sigma < 0)})
        self.mass = self.mean_of(lambda y: 1.0, 1.0)

    def mean_of(self, function: object, mass: float | None = None) -> float:
        parts = zip(self.edges[:-1], self.edges[1:], strict=True)
        total = sum(quad(lambda y: function(y) * math.exp(self.log_density(y)), *ends)[0] for ends in parts)  # type: ignore[operator]
        return total / (self.mass if mass is None else mass)

    def kl(self) -> float:
        return math.log(20) + self.mean_of(lambda y: self.log_density(y)) - math.log(self.mass)


@every_parameter
def test_moments_and_kl_by_integration(mu: float, sigma: float) -> None:
    q, exact = noise(mu, sigma)[0], ByIntegration(mu, sigma)
    mean = exact.mean_of(math.exp)
    ratio = exact.mean_of(lambda y: (math.exp(y) / mean - 1) ** 2)
    assert q.mean.item() == pytest.approx(mean, rel=1e-7)
    assert q.variance.item() == pytest.approx(ratio * mean**2, rel=1e-5)
    assert q.log_alpha.item() == pytest.approx(math.log(ratio), abs=1e-5)
    assert q.kl_log_uniform().item() == pytest.approx(exact.kl(), abs=1e-7)
    assert q.kl_log_uniform() > -1e-9


@every_parameter
def test_gradients_of_the_kl_by_integration(mu: float, sigma: float) -> None:
    q, m, log_sigma2 = noise(mu, sigma, requires_grad=True)
    got = torch.autograd.grad(q.kl_log_uniform(), (m, log_sigma2))
    h = 1e-3 * min(1.0, sigma)
    by_mu = (ByIntegration(mu + h, sigma).kl() - ByIntegration(mu - h, sigma).kl()) / (2 * h)
    up, down = (ByIntegration(mu, sigma * math.exp(step)).kl() for step in (5e-4, -5e-4))
    assert got[0].item() == pytest.approx(by_mu, rel=1e-4, abs=1e-6)
    assert got[1].item() == pytest.approx((up - down) / 2e-3, rel=1e-4, abs=1e-6)


@every_parameter
def test_draws_follow_the_density(mu: float, sigma: float) -> None:
    q, exact = noise(mu, sigma)[0], ByIntegration(mu, sigma)
    y = q.rsample((4000,)).log()
    assert ((y >= -20) & (y <= 0)).all()
    grid = np.linspace(max(-20.0, exact.mode - 10 * sigma), min(0.0, exact.mode + 10 * sigma), 20_001)
    density = np.exp([exact.log_density(point) for point in grid])
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    assert kstest(y.numpy(), lambda points: np.interp(points, grid, cumulative / cumulative[-1])).pvalue > 1e-4
    middle = torch.tensor(exact.mode).double().clamp(-19.99, -0.01)
    by_hand = exact.log_density(middle.item()) - math.log(exact.mass) - middle.item()
    assert q.log_prob(middle.exp()).item() == pytest.approx(by_hand, abs=1e-7)


@every_parameter
def test_draws_are_reparameterized(mu: float, sigma: float) -> None:
    """The gradient of E log z, a draw at a time, averages to the gradient of the integral."""
    n = 20_000
    m = torch.full((n,), mu, dtype=torch.float64, requires_grad=True)
    log_sigma2 = torch.full((n,), 2 * math.log(sigma), dtype=torch.float64, requires_grad=True)
    y = TruncatedLogNormal(m, log_sigma2).rsample().log()
    gradients = torch.autograd.grad(y.sum(), (m, log_sigma2))
    h = 1e-3 * sigma
    by_mu = (ByIntegration(mu + h, sigma).mean_of(lambda y: y) - ByIntegration(mu - h, sigma).mean_of(lambda y: y)) / (2 * h)
    ends = [ByIntegration(mu, sigma * math.exp(step)).mean_of(lambda y: y) for step in (5e-4, -5e-4)]
    for gradient, wanted in zip(gradients, (by_mu, (ends[0] - ends[1]) / 2e-3), strict=True):
        assert gradient.isfinite().all()
        assert abs(gradient.mean().item() - wanted) < 4.5 * gradient.std().item() / math.sqrt(n) + 1e-4 * abs(wanted)


@pytest.mark.parametrize("mu", [-1e30, -100.0, -20.0, -10.0, 0.0, 100.0, 1e30])
@pytest.mark.parametrize("log_sigma2", [-1e30, -60.0, -8.0, 0.0, 20.0, 60.0, 1e30])
def test_everything_is_finite_at_the_extremes(mu: float, log_sigma2: float) -> None:
    m, s = (torch.full((200,), value, requires_grad=True) for value in (mu, log_sigma2))
    q = TruncatedLogNormal(m, s)
    kl, draws = q.kl_log_uniform(), q.rsample()
    for value in (kl, draws, q.mean, q.log_alpha):
        assert value.isfinite().all()
        gradients = torch.autograd.grad(value.sum(), (m, s), retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in gradients)
    assert (kl > -1e-6).all()
    assert ((draws > 0) & (draws <= 1)).all()


def test_signal_to_noise_ratio() -> None:
    """log α is −2 log SNR; it is lowest without noise and at most that of the prior itself, where log z is uniform."""
    q = noise(-0.5, 0.7)[0]
    z = q.rsample((400_000,))
    assert q.log_alpha.item() == pytest.approx(-2 * math.log((z.mean() / z.std()).item()), abs=0.02)
    uniform = noise(-10.0, math.exp(9.9))[0]
    assert uniform.mean.item() == pytest.approx((1 - math.exp(-20)) / 20, rel=1e-6)
    assert uniform.log_alpha.item() == pytest.approx(math.log(9), abs=1e-3)
    assert uniform.kl_log_uniform().item() == pytest.approx(0, abs=1e-9)
    assert noise(-1.0, 1e-8)[0].log_alpha < -35


def test_kl_of_a_weight_counts_each_unit_once() -> None:
    mu, log_sigma2 = torch.tensor([-1.0, 0.0, -3.0]), torch.tensor([-2.0, 1.0, 4.0])
    theta, mask = torch.randn(4, 3), torch.ones(4, 3, dtype=torch.bool)
    by_unit = TruncatedLogNormal(mu, log_sigma2).kl_log_uniform()
    for kl in ("approximate", "exact"):
        prior = LogUniform((4, 3), kl=kl).to_event(2)  # type: ignore[arg-type]
        torch.testing.assert_close(kl_divergence(LogNormalUnits(theta, mu, log_sigma2), prior), by_unit.sum().float())
    mask[:, 1] = False
    q = LogNormalUnits(theta, mu, log_sigma2, mask=mask)
    torch.testing.assert_close(kl_divergence(q, prior), (by_unit[0] + by_unit[2]).float())
    assert torch.equal(q.mean != 0, mask)
    torch.testing.assert_close(q.log_alpha[0, [0, 2]], TruncatedLogNormal(mu, log_sigma2).log_alpha[[0, 2]].float())
    with pytest.raises(NotImplementedError):
        kl_divergence(q, NormalARD((4, 3)).to_event(2))
    with refuses("theta", (3,), (3,)):
        LogNormalUnits(theta[0], mu, log_sigma2)


@pytest.mark.parametrize("kl", ["approximate", "exact"])
def test_weights_with_noise_of_their_own_cost_what_they_cost_alone(kl: str) -> None:
    mu, z_log_sigma2 = torch.tensor([-1.0, 0.0, -3.0]), torch.tensor([-2.0, 1.0, 4.0])
    theta, log_sigma2, mask = torch.randn(4, 3), torch.randn(4, 3) - 2, torch.rand(4, 3) < 0.5
    prior = LogUniform((4, 3), kl=kl).to_event(2)  # type: ignore[arg-type]
    units = kl_divergence(LogNormalUnits(theta, mu, z_log_sigma2), prior)
    weights = kl_divergence(MultiplicativeNormal(theta, log_sigma2), LogUniform((4, 3), kl=kl))  # type: ignore[arg-type]
    both = kl_divergence(LogNormalUnits(theta, mu, z_log_sigma2, log_sigma2), prior)
    torch.testing.assert_close(both, units + weights.sum())
    left = kl_divergence(LogNormalUnits(theta, mu, z_log_sigma2, mask=mask), prior)
    masked = LogNormalUnits(theta, mu, z_log_sigma2, log_sigma2, mask)
    torch.testing.assert_close(kl_divergence(masked, prior), left + weights[mask].sum())
    assert torch.equal(masked.rsample((50,)) != 0, mask.expand(50, 4, 3))
