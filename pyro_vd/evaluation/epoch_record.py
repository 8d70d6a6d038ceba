"""What is recorded of every epoch of a training."""

from __future__ import annotations

from dataclasses import dataclass

from pyro_vd.evaluation.score import ERROR, Score


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: a line of ``metrics.jsonl``. Losses are means over the epoch's steps, in nats, for the whole data set."""

    phase: str
    """Which training of a run this is."""
    epoch: int
    """Counted from 1."""
    loss: float
    """Data term + β · KL."""
    data_term: float
    """−Σ log p(y|x, w), scaled to all the data."""
    kl: float
    """KL(q‖p), not weighted."""
    kl_weight: float
    """β at the epoch's last step."""
    lr: float
    """Learning rate at the epoch's last step."""
    score: float | None
    """How wrong that network, as it would be pruned now, predicts the validation data; None without. See ``score_name``."""
    compression: float
    """|W| / |W kept| of that network, a weight without a prior kept; infinite, in the log null, where none is kept."""
    skipped: int
    """Non-finite steps since the start of the training."""
    seconds: float
    """Time this epoch took."""
    score_name: str = ERROR
    """What ``score`` is: ``error``, a share of wrong predictions in [0, 1]; ``rmse``, in the unit of the numbers that are
    predicted; or what a likelihood of your own calls it."""
    nonzero_parameters: int | None = None
    """As of :class:`~pyro_vd.evaluation.deployed.StoredSize`, of that network, which is not compacted. None in old logs."""
    sparse_bytes: int | None = None
    """The same."""

    @property
    def measured(self) -> Score | None:
        """The score, with its name; None without validation data."""
        return None if self.score is None else Score(self.score_name, self.score)
