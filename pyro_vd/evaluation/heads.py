"""Metrics where several heads are observed, and the scores of one of them among those of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyro_vd._core.shown import Row
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.score import NLL, Score
from pyro_vd.evaluation.shown_metrics import ShownMetrics

if TYPE_CHECKING:
    from pyro_vd.evaluation.classification import Metrics
    from pyro_vd.evaluation.deployed import DeployedSize
    from pyro_vd.evaluation.regression import RegressionMetrics
    from pyro_vd.networks.sizes import LayerSize


@dataclass(frozen=True, repr=False)
class HeadsMetrics(ShownMetrics):
    """Metrics of :func:`~pyro_vd.evaluate` where several heads are observed.

    ``compression``, ``prior_share``, ``deployed`` and ``layers`` are those of :class:`~pyro_vd.evaluation.metrics.Metrics`.
    """

    nll: float
    """Negative log likelihood of all heads together, in nats per example."""
    heads: Mapping[str, Metrics | RegressionMetrics]
    """The metrics of each head, by name."""
    compression: float
    prior_share: float
    deployed: DeployedSize | None
    layers: tuple[LayerSize, ...]

    @property
    def score(self) -> Score:
        """The negative log likelihood as a :class:`~pyro_vd.evaluation.score.Score`."""
        return Score(NLL, self.nll)

    def _rows(self) -> Sequence[Row]:
        """One row for all heads together, and one for each."""
        own = {name: value for name, value in super()._rows()[0].items() if name != "heads"}
        return [{"head": "all", **own}, *({"head": name, **metrics._rows()[0]} for name, metrics in self.heads.items())]


def heads_in(means: Draws) -> list[str]:
    """Return the names of the heads whose scores, named ``<score>.<head>``, are among these; empty if there is one head."""
    return list(dict.fromkeys(name.partition(".")[2] for name in means if "." in name))


def head_of(means: Draws, head: str) -> Draws:
    """Return the scores of one head by their own names."""
    return {name.removesuffix(f".{head}"): value for name, value in means.items() if name.endswith(f".{head}")}
