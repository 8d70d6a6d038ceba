"""How good predictions of numbers are: error, likelihood, and the coverage of predictive intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.score import RMSE, Score

if TYPE_CHECKING:
    from pyro_vd.evaluation.deployed import DeployedSize
    from pyro_vd.evaluation.network_size import NetworkSize
    from pyro_vd.networks.sizes import LayerSize


@dataclass(frozen=True)
class RegressionMetrics:
    """What :func:`~pyro_vd.evaluate` measures where numbers are observed, in their own unit.

    ``rmse`` is the root mean square error of the predictive mean, over all numbers, and ``rmse_se`` its standard error (delta
    method, examples independent); ``nll`` is in nats per example. ``coverage_50`` and ``coverage_90`` are the shares of
    observations in the central predictive intervals of these levels, which of counts hold at least as much; None where the
    likelihood has no distribution function. If the intervals are right they vary by √(level (1 − level) / examples).
    ``compression``, ``prior_share``, ``deployed`` and ``layers`` are those of :class:`~pyro_vd.evaluation.metrics.Metrics`.
    """

    rmse: float
    rmse_se: float
    nll: float
    coverage_50: float | None
    coverage_90: float | None
    examples: int
    compression: float
    prior_share: float
    deployed: DeployedSize | None
    layers: tuple[LayerSize, ...]

    @property
    def score(self) -> Score:
        """How wrong the predictions are, as of any likelihood."""
        return Score(RMSE, self.rmse)


def measure_numbers(means: Draws, y: Tensor, size: NetworkSize) -> RegressionMetrics:
    """Compare the predictive p(y|x) ≈ 1/S Σ p(y|x, wₛ), an equal mixture over the draws, with the observations.

    Its intervals need no further draws: y is in the central one of level l if (1 − l)/2 ≤ P(Y ≤ y) and P(Y < y) ≤ (1 + l)/2.

    Args:
        means: over the draws, of what :func:`~pyro_vd.evaluation.scores.number_scores` gives of each.
        y: observations ``(n, …)``, as :func:`~pyro_vd.evaluation.observations.check_observations` gives them.
        size: of the network.

    Raises:
        InputError: a prediction that is not finite.
    """
    errors = means["mean"] - y.to(means["mean"])
    broken = int((~errors.isfinite()).reshape(len(y), -1).any(1).logical_or(means["log_likelihood"].isnan()).sum())
    if broken:
        raise InputError(
            f"the predicted mean or likelihood is NaN or infinite for {broken} of {len(y)} examples; it cannot be measured"
        )
    squares = errors.square().reshape(len(y), -1).mean(1)
    below, upto = means["below"], means["upto"]

    def coverage(level: float) -> float | None:
        inside = (upto >= (1 - level) / 2) & (below <= (1 + level) / 2)
        return None if below.isnan().any() else inside.double().mean().item()

    rmse = squares.mean().sqrt().item()
    return RegressionMetrics(
        rmse=rmse,
        rmse_se=squares.std(correction=0).item() / math.sqrt(len(y)) / (2 * rmse) if rmse else 0.0,
        nll=-means["log_likelihood"].mean().item(),
        coverage_50=coverage(0.5),
        coverage_90=coverage(0.9),
        examples=len(y),
        **vars(size),
    )
