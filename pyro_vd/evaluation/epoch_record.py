"""The record of one epoch of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyro_vd.evaluation.score import ERROR, Score


@dataclass(frozen=True)
class EpochRecord:
    """The record of one epoch, a line of ``metrics.jsonl``.

    Losses are means over the epoch's steps, in nats for the whole data set. The score, the compression and the sizes are those
    of the network that would be pruned after this epoch.
    """

    phase: str
    """Name of the training within a run, such as ``pretrain``."""
    epoch: int
    """Number of the epoch, counted from 1."""
    loss: float
    """Data term + β · KL."""
    data_term: float
    """−Σ log p(y|x, w), scaled to the whole data set."""
    kl: float
    """KL(q‖p), not multiplied by β."""
    kl_weight: float
    """β at the epoch's last step."""
    lr: float
    """Learning rate at the epoch's last step."""
    score: float | None
    """Error of the pruned network on the validation data, see ``score_name``; None without validation data."""
    compression: float
    """|W| / |W kept| of the pruned network; weights without a prior are kept. Infinite (null in the log) if none is kept."""
    skipped: int
    """Non-finite steps since the start of the training."""
    seconds: float
    """Duration of this epoch in seconds."""
    score_name: str = ERROR
    """Name of ``score``: ``error``, the share of wrong predictions in [0, 1]; ``rmse``, in the unit of the targets; or ``nll``
    of several heads, in nats per example."""
    nonzero_parameters: int | None = None
    """See :class:`~pyro_vd.evaluation.deployed.StoredSize`, for the pruned network, not compacted. None in old logs."""
    sparse_bytes: int | None = None
    """See :class:`~pyro_vd.evaluation.deployed.StoredSize`, for the pruned network, not compacted. None in old logs."""

    def line(self) -> str:
        """Return the record as a short text."""
        score = "" if self.measured is None else f", {self.measured}"
        smaller = f"compression {self.compression:.4g}x" if math.isfinite(self.compression) else "no weight left"
        return f"epoch {self.epoch}, loss {self.loss:.6g}, KL {self.kl:.6g}{score}, {smaller}"

    @property
    def measured(self) -> Score | None:
        """The score with its name; None without validation data."""
        return None if self.score is None else Score(self.score_name, self.score)
