"""A callback that ends a training whose validation score improves no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd.training.best_epoch import check_scores, counted
from pyro_vd.training.callbacks import Callback

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.state import TrainingState


class EarlyStopping(Callback):
    """Ends the training when the validation score has not improved for some epochs.

    Epochs before the end of the KL warm-up do not count: the score is that of the network as it would be pruned, and until then
    less is pruned than will be. All is read from the history, so that a resumed training ends where one ends that was never
    interrupted. With ``fit(..., restore_best=True)`` the guide is afterwards that of the best epoch.

    Args:
        patience: epochs without an improvement after which the training ends, at least 1.
        min_delta: what an improvement is at least, in the unit of the score, ≥ 0; any improvement must be above 0.

    Raises:
        InputError: an argument out of range; or, when the training starts, no validation data, or a KL warm-up that is longer
            than the training.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self._patience = check_number("patience", patience, low=1, high=LARGEST, whole=True)
        self._min_delta = check_number("min_delta", min_delta, low=0)

    def on_start(self, state: TrainingState) -> None:
        check_scores("EarlyStopping", state)
        self._decide(state)

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        self._decide(state)

    def _decide(self, state: TrainingState) -> None:
        best, waited = math.inf, 0
        for record in counted(state.history, state.spec):
            assert record.score is not None
            if record.score < best and not best - record.score < self._min_delta:
                best, waited = record.score, 0
            else:
                waited += 1
        if waited >= self._patience:
            state.stop()
