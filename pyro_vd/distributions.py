"""Priors and the posterior of one weight, as Pyro distributions, their KLs registered with torch."""

from __future__ import annotations

import math
from typing import Literal

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints, register_kl
from torch.distributions.utils import broadcast_all

from pyro_vd.errors import InputError
from pyro_vd.kl import kl_approximate, kl_ard, kl_exact

KLForm = Literal["approximate", "exact"]


class _WeightPrior(TorchDistribution):
    """A prior of a real weight that depends on nothing but its shape."""

    support = constraints.real
    arg_constraints: dict[str, constraints.Constraint] = {}
    _why = ""

    def __init__(self, shape: torch.Size | tuple[int, ...] = ()) -> None:
        super().__init__(torch.Size(shape), validate_args=False)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        raise InputError(
            f"{type(self).__name__} cannot be sampled: {self._why} Condition the model on a guide, "
            f"as pyro.poutine.replay and VariationalDropoutELBO do."
        )

    rsample = sample


class LogUniform(_WeightPrior):
    """Log-uniform prior of a weight, p(|w|) ∝ 1/|w|, that is log|w| uniform on the real line.

    The prior of sparse variational dropout (Kingma 2015, arXiv 1506.02557, section 4; Molchanov 2017, arXiv 1701.05369,
    eq. 5). It is improper: it integrates to infinity, so it has no samples, and its density is infinite at 0.

    Args:
        shape: the batch shape; ``.to_event()`` makes it one event.
        kl: which KL(q‖p) :func:`torch.distributions.kl_divergence` computes for a :class:`MultiplicativeNormal` q:
            ``"approximate"`` (Molchanov 2017, eq. 14; off by at most 0.0094 nats a weight) or ``"exact"``.

    Raises:
        InputError: ``kl`` is neither; or :meth:`sample` is called.
    """

    _why = "p(|w|) ∝ 1/|w| is improper, its integral is infinite, so it has no samples."

    def __init__(self, shape: torch.Size | tuple[int, ...] = (), kl: KLForm = "approximate") -> None:
        if kl not in ("approximate", "exact"):
            raise InputError(f"kl (={kl!r}) must be 'approximate' or 'exact'")
        super().__init__(shape)
        self.kl = kl

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> LogUniform:
        return LogUniform(batch_shape, self.kl)

    def log_prob(self, value: Tensor) -> Tensor:
        """Unnormalised log density −log|w|; +∞ at w = 0."""
        return -value.abs().log().expand(torch.broadcast_shapes(value.shape, self.batch_shape))


class NormalARD(_WeightPrior):
    """Automatic relevance determination: N(0, 1/τ) with the precision τ of each weight fitted by empirical Bayes.

    At the optimum 1/τ = θ² + σ², so KL(q‖p) = ½ log(1 + 1/α) in closed form and τ is never stored (Kharitonov 2018,
    arXiv 1811.00596, eq. 8). Unlike the log-uniform prior it is a proper prior for every τ; a density of w alone does
    not exist, because τ depends on q.

    Args:
        shape: the batch shape; ``.to_event()`` makes it one event.

    Raises:
        InputError: :meth:`sample` or :meth:`log_prob` is called.
    """

    _why = "its precision is fitted to the posterior, so there is nothing to sample before a posterior is given."

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> NormalARD:
        return NormalARD(batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        raise InputError("NormalARD has no density of w alone: its precision is fitted to the posterior; use its KL.")


class MultiplicativeNormal(TorchDistribution):
    """Posterior of a weight, q(w) = N(θ, αθ²), that is w = θ(1 + √α ε) with ε ~ N(0, 1).

    Stored additively, as θ and log σ² with σ² = αθ², because the gradient then has far less variance (Molchanov 2017,
    section 4.2). log α = log σ² − log θ².

    Args:
        theta: mean θ, any shape.
        log_sigma2: log variance log σ², broadcast against ``theta``.

    Raises:
        ValueError: a NaN in either, where argument validation is on.
    """

    arg_constraints = {"theta": constraints.real, "log_sigma2": constraints.real}
    support = constraints.real
    has_rsample = True

    def __init__(self, theta: Tensor, log_sigma2: Tensor, validate_args: bool | None = None) -> None:
        self.theta, self.log_sigma2 = broadcast_all(theta, log_sigma2)
        super().__init__(self.theta.shape, validate_args=validate_args)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> MultiplicativeNormal:
        shape = torch.Size(batch_shape)
        return MultiplicativeNormal(self.theta.expand(shape), self.log_sigma2.expand(shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.theta

    @property
    def variance(self) -> Tensor:
        return self.log_sigma2.exp()

    @property
    def log_alpha(self) -> Tensor:
        """log α = log σ² − log θ²; +∞ where θ = 0. For reading, not for gradients: see :mod:`pyro_vd.kl`."""
        return self.log_sigma2 - 2 * self.theta.abs().log()

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.theta.dtype, device=self.theta.device)
        return torch.addcmul(self.theta, (0.5 * self.log_sigma2).exp(), noise)

    def log_prob(self, value: Tensor) -> Tensor:
        squared = (value - self.theta).square() * (-self.log_sigma2).exp()
        return -0.5 * (squared + self.log_sigma2 + math.log(2 * math.pi))


def base_distribution(distribution: Distribution) -> Distribution:
    """The distribution of one weight, without what ``to_event`` put round it."""
    return distribution.base_dist if isinstance(distribution, Independent) else distribution


@register_kl(MultiplicativeNormal, LogUniform)
def _kl_log_uniform(q: MultiplicativeNormal, p: LogUniform) -> Tensor:
    divergence = kl_exact if p.kl == "exact" else kl_approximate
    return _expand(divergence(q.theta, q.log_sigma2), p)


@register_kl(MultiplicativeNormal, NormalARD)
def _kl_ard(q: MultiplicativeNormal, p: NormalARD) -> Tensor:
    return _expand(kl_ard(q.theta, q.log_sigma2), p)


@register_kl(dist.Delta, LogUniform)
@register_kl(dist.Delta, NormalARD)
def _kl_point_estimate(q: dist.Delta, p: LogUniform | NormalARD) -> Tensor:
    """Zero: a point estimate carries no information cost, so the ELBO is the log likelihood."""
    return _expand(q.v.new_zeros(q.batch_shape), p)


def _expand(divergence: Tensor, p: TorchDistribution) -> Tensor:
    if divergence.shape == p.batch_shape:
        return divergence
    return divergence.expand(torch.broadcast_shapes(divergence.shape, p.batch_shape))
