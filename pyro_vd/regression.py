"""How good predictions of numbers are: error, likelihood, and the coverage of predictive intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Distribution, Poisson

from pyro_vd.errors import InputError
from pyro_vd.observations import Observed, base_distribution, distribution_of

if TYPE_CHECKING:
    from pyro_vd.metrics import LayerSize


@dataclass(frozen=True)
class RegressionMetrics:
    """What :func:`~pyro_vd.evaluate` measures where numbers are observed, in their own unit.

    ``rmse`` is the root mean square error of the predictive mean, over all numbers, and ``rmse_se`` its standard error (delta
    method, examples independent); ``nll`` is in nats an example. ``coverage_50`` and ``coverage_90`` are the shares of
    observations in the central predictive intervals of these levels, which of counts hold at least as much; None where the
    likelihood has no distribution function. If the intervals are right they vary by √(level (1 − level) / examples).
    ``compression`` and ``layers`` are those of :class:`~pyro_vd.metrics.Metrics`.
    """

    rmse: float
    rmse_se: float
    nll: float
    coverage_50: float | None
    coverage_90: float | None
    examples: int
    compression: float
    layers: tuple[LayerSize, ...]


@torch.no_grad()
def measure_numbers(
    draws: Tensor, y: Tensor, likelihood: Observed | None, compression: float, layers: tuple[LayerSize, ...]
) -> RegressionMetrics:
    """Compare the predictive p(y|x) ≈ 1/S Σ p(y|f(x; wₛ)), an equal mixture over the draws, with the observations.

    Its intervals need no further draws: y is in the central one of level l if (1 − l)/2 ≤ P(Y ≤ y) and P(Y < y) ≤ (1 + l)/2.

    Args:
        draws: of the network's output, ``(S, n, …)``.
        y: observations ``(n, …)``, as :func:`~pyro_vd.observations.check_observations` gives them.
        likelihood: as of :func:`~pyro_vd.observations.distribution_of`.
        compression, layers: of the network.

    Raises:
        InputError: an output that is not finite.
    """
    if broken := int((~draws.isfinite()).any(0).reshape(len(y), -1).any(1).sum()):
        raise InputError(f"the network's output is NaN or infinite for {broken} of {len(y)} examples; it cannot be measured")
    count = len(draws)
    distribution = distribution_of(likelihood, draws.flatten(0, 1).double())
    observed = y.to(distribution.mean).repeat(count, *[1] * (y.ndim - 1))

    def by_draw(values: Tensor) -> Tensor:
        return values.cpu().double().unflatten(0, (count, -1))

    log_likelihood = by_draw(distribution.log_prob(observed)).logsumexp(0) - math.log(count)
    errors = by_draw(distribution.mean).mean(0) - y.cpu()
    squares = errors.square().reshape(len(y), -1).mean(1)
    below, upto = (by_draw(values).mean(0) for values in _cdf(base_distribution(distribution), observed))

    def coverage(level: float) -> float | None:
        inside = (upto >= (1 - level) / 2) & (below <= (1 + level) / 2)
        return None if below.isnan().any() else inside.double().mean().item()

    rmse = squares.mean().sqrt().item()
    return RegressionMetrics(
        rmse=rmse,
        rmse_se=squares.std(correction=0).item() / math.sqrt(len(y)) / (2 * rmse) if rmse else 0.0,
        nll=-log_likelihood.mean().item(),
        coverage_50=coverage(0.5),
        coverage_90=coverage(0.9),
        examples=len(y),
        compression=compression,
        layers=layers,
    )


def _cdf(base: Distribution, y: Tensor) -> tuple[Tensor, Tensor]:
    """P(Y < y) and P(Y ≤ y); NaN where torch has no distribution function."""
    if isinstance(base, Poisson):
        return torch.special.gammaincc(y, base.rate), torch.special.gammaincc(y + 1, base.rate)
    try:
        return (base.cdf(y),) * 2
    except NotImplementedError:
        return (torch.full_like(y, torch.nan),) * 2
