"""Posterior of a weight with one truncated log-normal factor per input unit, and its KL to the log-uniform prior."""

from __future__ import annotations

import copy
import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import constraints, register_kl

from pyro_vd.distributions.kl import kl_approximate, kl_exact
from pyro_vd.distributions.priors import LogUniform
from pyro_vd.distributions.unit_layout import UnitLayout
from pyro_vd.distributions.unit_posterior import UnitPosterior

LOWER, UPPER = -20.0, 0.0
"""Bounds a and b of log z (Neklyudov 2017)."""

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_FAR = 30.0  # largest distance of μ from the bounds, in units of σ; there, log z is practically exponential
_LOG_SIGMA = (-20.0, 10.0)  # limits of log σ: no noise, and a uniform log z
_EPS = torch.finfo(torch.float64).eps


class _LogMass(torch.autograd.Function):
    """log(Φ(upper) − Φ(lower)) for lower < upper with its gradient in closed form, accurate also far from 0."""

    @staticmethod
    def forward(ctx: Any, lower: Tensor, upper: Tensor) -> Tensor:
        low, high = _to_the_left(lower, upper)
        rest = (0.5 * (high - low) * (high + low)).exp() * torch.special.erfcx(-low / math.sqrt(2))
        tail = (0.5 * (torch.special.erfcx(-high.clamp_max(0) / math.sqrt(2)) - rest)).log() - 0.5 * high.square()
        value = torch.where(high < 0, tail, (_distribution(high) - _distribution(low)).log())
        ctx.save_for_backward(lower, upper, value)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper, value = ctx.saved_tensors
        return -grad * _density(lower, value), grad * _density(upper, value)


def _to_the_left(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Return the interval or its mirror image, whichever is further to the left, where Φ is accurate."""
    mirrored = lower + upper > 0
    return torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)


def _distribution(x: Tensor) -> Tensor:
    """Return Φ(x), which far to the left is more accurate than that of torch.special.ndtr."""
    return 0.5 * torch.special.erfc(-x / math.sqrt(2))


def _density(x: Tensor, log_mass: Tensor) -> Tensor:
    """Return φ(x) divided by the mass of the interval."""
    return (-0.5 * x.square() - _HALF_LOG_2PI - log_mass).exp()


class TruncatedLogNormal(TorchDistribution):
    """Distribution of z with log z ~ N(μ, σ²) truncated to [−20, 0], the multiplicative noise of structured Bayesian pruning.

    Neklyudov, Molchanov, Ashukha and Vetrov 2017, arXiv 1705.07283. Everything is computed in float64, which the device must
    support; so all values and gradients are finite and accurate to several digits for any μ and σ.

    Args:
        mu: μ, any shape.
        log_sigma2: log σ², broadcast against ``mu``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support: constraints.Constraint = constraints.interval(math.exp(LOWER), math.exp(UPPER))
    has_rsample = True

    def __init__(self, mu: Tensor, log_sigma2: Tensor) -> None:
        mu, log_sigma2 = torch.broadcast_tensors(mu.double(), log_sigma2.double())
        self.sigma: Tensor = (0.5 * log_sigma2).clamp(*_LOG_SIGMA).exp()
        self.mu: Tensor = torch.clamp(mu, LOWER - _FAR * self.sigma, UPPER + _FAR * self.sigma)
        self._lower, self._upper = (LOWER - self.mu) / self.sigma, (UPPER - self.mu) / self.sigma
        super().__init__(mu.shape, validate_args=False)

    def of(self, index: Tensor) -> TruncatedLogNormal:
        """Return the distribution with the parameters at these indices of the vectors μ and σ."""
        chosen = copy.copy(self)
        chosen.mu, chosen.sigma, chosen._lower, chosen._upper = (
            part[index] for part in (self.mu, self.sigma, self._lower, self._upper)
        )
        chosen._batch_shape = index.shape
        return chosen

    @property
    def _log_mass(self) -> Tensor:
        mass: Tensor = _LogMass.apply(self._lower, self._upper)
        return mass

    def log_moment(self, k: int) -> Tensor:
        """Return log E zᵏ = kμ + k²σ²/2 + log m(kσ) − log m(0), with the mass m(s) between the standardised bounds minus s."""
        shifted = _LogMass.apply(self._lower - k * self.sigma, self._upper - k * self.sigma)
        return k * self.mu + 0.5 * (k * self.sigma).square() + shifted - self._log_mass

    @property
    def mean(self) -> Tensor:
        return self.log_moment(1).exp()

    @property
    def variance(self) -> Tensor:
        return self.log_alpha.exp() * self.mean.square()

    @property
    def log_alpha(self) -> Tensor:
        """log Var z − log (E z)² = −2 log SNR, which is 0 for a signal-to-noise ratio (SNR in the paper) of 1; at least −36."""
        return torch.expm1(self.log_moment(2) - 2 * self.log_moment(1)).clamp_min(_EPS).log()

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw z by the inverse distribution function, on the side where that is accurate."""
        low, high = _to_the_left(self._lower, self._upper)
        below = _distribution(low)
        uniform = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=torch.float64, device=self.mu.device)
        share = (below + uniform * (_distribution(high) - below)).clamp(1e-300, 1 - 0.5 * _EPS)
        normal = torch.special.ndtri(share) * torch.where(low == self._lower, 1.0, -1.0)
        return torch.addcmul(self.mu, self.sigma, normal).clamp(LOWER, UPPER).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        log_z = value.double().log()
        normal = -0.5 * ((log_z - self.mu) / self.sigma).square() - self.sigma.log() - _HALF_LOG_2PI
        return (normal - self._log_mass - log_z).masked_fill((log_z < LOWER) | (log_z > UPPER), -torch.inf)

    def kl_log_uniform(self) -> Tensor:
        """Return the KL in nats to p(z) ∝ 1/z on the same bounds, log(b − a) minus the entropy of log z."""
        mass, bounds = self._log_mass, (self._lower, self._upper)
        lower, upper = (x * _density(x, mass) for x in bounds)
        return math.log(UPPER - LOWER) - _HALF_LOG_2PI - 0.5 - self.sigma.log() - mass - 0.5 * (lower - upper)


class LogNormalUnits(UnitPosterior):
    """Posterior of w = v diag(z) with z ~ :class:`TruncatedLogNormal` per input unit or channel, and v = θ or v ~ N(θ, σ²).

    The prior of z is log-uniform, with log z uniform on [−20, 0]. If v = θ, the KL does not depend on θ. If v has noise, its
    prior is log-uniform as well (Molchanov 2017, arXiv 1701.05369), and the KL is the sum of both.

    Args:
        theta: θ, one event.
        z_mu, z_log_sigma2: μ and log σ² of log z, ``(units,)``.
        log_sigma2: log σ² of v, in the shape of θ; None for weights without noise of their own.
        mask: in the shape of θ, False where a weight is permanently removed; None removes no weight.
        layout: see :class:`~.unit_posterior.UnitPosterior`.

    Raises:
        InputError: θ has fewer than two dimensions, and there is no layout.
    """

    def __init__(
        self,
        theta: Tensor,
        z_mu: Tensor,
        z_log_sigma2: Tensor,
        log_sigma2: Tensor | None = None,
        mask: Tensor | None = None,
        layout: UnitLayout | None = None,
    ) -> None:
        self.z: TruncatedLogNormal = TruncatedLogNormal(z_mu, z_log_sigma2)
        super().__init__(theta, log_sigma2, mask, layout)

    @property
    def z_mean(self) -> Tensor:
        return self.z.mean.to(self.theta.dtype)

    @property
    def z_variance(self) -> Tensor:
        return self.z.variance.to(self.theta.dtype)

    @property
    def unit_log_alpha(self) -> Tensor:
        return self.z.log_alpha.to(self.theta.dtype)

    def units(self, sample_shape: torch.Size | tuple[int, ...], of: Tensor | None = None) -> Tensor:
        return (self.z if of is None else self.z.of(of)).rsample(sample_shape).to(self.theta.dtype)


@register_kl(LogNormalUnits, dist.Independent)
def _kl_log_normal_units(q: LogNormalUnits, p: dist.Independent) -> Tensor:
    if not isinstance(p.base_dist, LogUniform):
        raise NotImplementedError
    total = q.units_kl(q.z.kl_log_uniform()).to(q.theta.dtype) if q.counts_units else q.theta.new_zeros(())
    if q.log_sigma2 is None:
        return total
    divergence = kl_exact if p.base_dist.kl == "exact" else kl_approximate
    weights = divergence(q.theta, q.log_sigma2)
    return total + (weights if q.mask is None else weights * q.mask).sum()
