"""Posteriors of weights as Pyro distributions, and their KLs to the priors, which are registered with torch."""

from __future__ import annotations

import math
from abc import abstractmethod

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints, register_kl
from torch.distributions.utils import broadcast_all

from pyro_vd.distributions.kl import kl_approximate, kl_ard, kl_exact
from pyro_vd.distributions.priors import LogUniform, NormalARD


class WeightPosterior(TorchDistribution):
    """Base class of posteriors q(w) = N(θ, αθ²), that is w = θ(1 + √α ε) with ε ~ N(0, 1), for any way to store α."""

    theta: Tensor
    support: constraints.Constraint = constraints.real
    has_rsample = True

    @property
    def mean(self) -> Tensor:
        return self.theta

    @property
    @abstractmethod
    def log_alpha(self) -> Tensor:
        """log α, in the shape of the weights. Not for gradients: see :mod:`pyro_vd.distributions.kl`."""

    @property
    def log_sigma2(self) -> Tensor:
        """log σ² = log(αθ²), in the shape of the weights."""
        return self.variance.log()


class MultiplicativeNormal(WeightPosterior):
    """Posterior q(w) = N(θ, αθ²) of weights with one α per weight, stored as θ and log σ² with σ² = αθ².

    With this additive parametrization the gradient has a far lower variance than with θ and α (Molchanov 2017, arXiv
    1701.05369, section 4.2). log α = log σ² − log θ².

    Args:
        theta: mean θ, any shape.
        log_sigma2: log variance log σ², broadcast against ``theta``.

    Raises:
        ValueError: an argument has a NaN, and argument validation is on.
    """

    arg_constraints: dict[str, constraints.Constraint] = {"theta": constraints.real, "log_sigma2": constraints.real}

    def __init__(self, theta: Tensor, log_sigma2: Tensor, validate_args: bool | None = None) -> None:
        self.theta: Tensor
        same = isinstance(theta, Tensor) and isinstance(log_sigma2, Tensor) and theta.shape == log_sigma2.shape
        self.theta, self._log_sigma2 = (theta, log_sigma2) if same else broadcast_all(theta, log_sigma2)
        super().__init__(self.theta.shape, validate_args=validate_args)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> MultiplicativeNormal:
        shape = torch.Size(batch_shape)
        return MultiplicativeNormal(self.theta.expand(shape), self.log_sigma2.expand(shape), validate_args=False)

    @property
    def log_sigma2(self) -> Tensor:
        return self._log_sigma2

    @property
    def variance(self) -> Tensor:
        return self.log_sigma2.exp()

    @property
    def log_alpha(self) -> Tensor:
        """log α = log σ² − log θ²; +∞ where θ = 0. Not for gradients: see :mod:`pyro_vd.distributions.kl`."""
        return torch.sub(self.log_sigma2, self.theta.abs().log(), alpha=2)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.theta.dtype, device=self.theta.device)
        return torch.addcmul(self.theta, (0.5 * self.log_sigma2).exp(), noise)

    def log_prob(self, value: Tensor) -> Tensor:
        squared = (value - self.theta).square() * (-self.log_sigma2).exp()
        return -0.5 * (squared + self.log_sigma2 + math.log(2 * math.pi))


class SharedAlphaNormal(WeightPosterior):
    """Posterior q(w) = N(θ, αθ²) of weights, stored as θ and log α, for an α that is fixed or shared by several weights.

    Gaussian dropout with rate p has α = p/(1 − p) (Srivastava 2014, section 10; Kingma 2015, arXiv 1506.02557, section 3).
    Its KL to the log-uniform prior depends only on α, so it is constant for a fixed α.

    Args:
        theta: mean θ, any shape.
        log_alpha: log α, broadcast against ``theta``; −∞ for no noise.

    Raises:
        ValueError: ``theta`` has a NaN, and argument validation is on.
    """

    arg_constraints: dict[str, constraints.Constraint] = {"theta": constraints.real}

    def __init__(self, theta: Tensor, log_alpha: Tensor, validate_args: bool | None = None) -> None:
        shape = torch.broadcast_shapes(theta.shape, log_alpha.shape)
        self.theta: Tensor = theta.expand(shape)
        self._log_alpha = log_alpha
        super().__init__(shape, validate_args=validate_args)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> SharedAlphaNormal:
        shape = torch.Size(batch_shape)
        return SharedAlphaNormal(self.theta.expand(shape), self._log_alpha, validate_args=False)

    @property
    def log_alpha(self) -> Tensor:
        return self._log_alpha.expand(self.theta.shape)

    @property
    def log_sigma2(self) -> Tensor:
        """log σ² = log α + log θ²; −∞ where θ = 0. Not for gradients."""
        return self._log_alpha + 2 * self.theta.abs().log()

    @property
    def variance(self) -> Tensor:
        return self._log_alpha.exp() * self.theta.square()

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.theta.dtype, device=self.theta.device)
        return self.theta * (1 + (0.5 * self._log_alpha).exp() * noise)

    def log_prob(self, value: Tensor) -> Tensor:
        squared = (value - self.theta).square() / self.variance
        return -0.5 * (squared + self.log_sigma2 + math.log(2 * math.pi))


@register_kl(MultiplicativeNormal, LogUniform)
def _kl_log_uniform(q: MultiplicativeNormal, p: LogUniform) -> Tensor:
    divergence = kl_exact if p.kl == "exact" else kl_approximate
    return _expand(divergence(q.theta, q.log_sigma2), p)


@register_kl(MultiplicativeNormal, NormalARD)
def _kl_ard(q: MultiplicativeNormal, p: NormalARD) -> Tensor:
    return _expand(kl_ard(q.theta, q.log_sigma2), p)


# The KLs depend on θ and σ² only through α, so they can be computed with θ = 1.
@register_kl(SharedAlphaNormal, LogUniform)
def _kl_shared_log_uniform(q: SharedAlphaNormal, p: LogUniform) -> Tensor:
    divergence = kl_exact if p.kl == "exact" else kl_approximate
    return _expand(divergence(torch.ones_like(q._log_alpha), q._log_alpha).expand(q.theta.shape), p)


@register_kl(SharedAlphaNormal, NormalARD)
def _kl_shared_ard(q: SharedAlphaNormal, p: NormalARD) -> Tensor:
    return _expand(kl_ard(torch.ones_like(q._log_alpha), q._log_alpha).expand(q.theta.shape), p)


@register_kl(dist.Delta, LogUniform)
@register_kl(dist.Delta, NormalARD)
def _kl_point_estimate(q: dist.Delta, p: LogUniform | NormalARD) -> Tensor:
    """Return 0, so that the ELBO of a point estimate is the log likelihood."""
    return _expand(q.v.new_zeros(q.batch_shape), p)


def _expand(divergence: Tensor, p: TorchDistribution) -> Tensor:
    if divergence.shape == p.batch_shape:
        return divergence
    return divergence.expand(torch.broadcast_shapes(divergence.shape, p.batch_shape))
