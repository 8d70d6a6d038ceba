"""Metrics of predictions of numbers: error, likelihood, and the coverage of predictive intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.score import RMSE, Score
from pyro_vd.evaluation.shown_metrics import ShownMetrics

if TYPE_CHECKING:
    from pyro_vd.evaluation.deployed import DeployedSize
    from pyro_vd.evaluation.network_size import NetworkSize
    from pyro_vd.networks.sizes import LayerSize


@dataclass(frozen=True, repr=False)
class RegressionMetrics(ShownMetrics):
    """Metrics of :func:`~pyro_vd.evaluate` where numbers are observed.

    ``compression``, ``prior_share``, ``deployed`` and ``layers`` are those of :class:`~pyro_vd.evaluation.metrics.Metrics`.
    """

    rmse: float
    """Root mean square error of the predictive mean over all numbers, in their unit."""
    rmse_se: float
    """Standard error of ``rmse`` (delta method, independent examples), in the same unit."""
    nll: float
    """Negative log likelihood, in nats per example."""
    coverage_50: float | None
    """Share of observations in the central 50 % predictive interval; None if the likelihood has no distribution function.

    If the intervals are correct, its standard error is √(level (1 − level) / examples). Intervals of counts cover more.
    """
    coverage_90: float | None
    """Share of observations in the central 90 % predictive interval; see ``coverage_50``."""
    examples: int
    """Number of examples."""
    compression: float
    prior_share: float
    deployed: DeployedSize | None
    layers: tuple[LayerSize, ...]

    @property
    def score(self) -> Score:
        """The RMSE as a :class:`~pyro_vd.evaluation.score.Score`."""
        return Score(RMSE, self.rmse)


def measure_numbers(means: Draws, y: Tensor, size: NetworkSize) -> RegressionMetrics:
    """Compute the metrics of the predictive p(y|x) ≈ 1/S Σ p(y|x, wₛ), an equal mixture over the draws.

    Its central interval of level l needs no further draws: y is inside if (1 − l)/2 ≤ P(Y ≤ y) and P(Y < y) ≤ (1 + l)/2.

    Args:
        means: means over the draws of :func:`~pyro_vd.evaluation.scores.scores`; examples that are not ``kept`` are left out.
        y: observations ``(n, …)``, checked by :func:`~pyro_vd.evaluation.observations.check_observations`.
        size: size of the network.

    Raises:
        InputError: a prediction is not finite.
    """
    if "kept" in means:
        kept = means["kept"] > 0.5
        means, y = {name: value[kept] for name, value in means.items()}, y[kept.to(y.device)]
    errors = means["mean"] - y.to(means["mean"])
    broken = int((~errors.isfinite()).reshape(len(y), -1).any(1).logical_or(means["log_likelihood"].isnan()).sum())
    if broken:
        raise InputError(
            f"the predicted mean or likelihood is NaN or infinite for {broken} of {len(y)} examples; all must be finite",
            name="net",
            value=broken,
            allowed="finite predictions",
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
