"""What is recorded of every epoch of a training."""

from __future__ import annotations

from dataclasses import dataclass


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
    error: float | None
    """Share of wrong validation predictions of the network as it would be pruned now; None without validation data."""
    compression: float
    """|W| / |W kept| of that network, a weight without a prior kept; infinite, in the log null, where none is kept."""
    skipped: int
    """Non-finite steps since the start of the training."""
    seconds: float
    """Time this epoch took."""
    is_rmse: bool = False
    """Whether ``error`` is the root mean square error instead, in the unit of the numbers that are predicted."""
    nonzero_parameters: int | None = None
    """As of :class:`~pyro_vd.evaluation.deployed.StoredSize`, of that network, which is not compacted. None in old logs."""
    sparse_bytes: int | None = None
    """The same."""
