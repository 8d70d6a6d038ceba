"""Runs of a sweep that are stopped because their setting is hopeless."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyro_vd.training.callbacks import Callback

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.state import TrainingState

_PARTS = 10


class HopelessError(Exception):
    """A run was stopped because its setting is hopeless."""


class StopWhereHopeless(Callback):
    """Asks after every tenth of the training whether to stop.

    Tenths are counted from the end of the KL warm-up: before, the KL has not yet pruned what it will prune, and the score is
    that of a larger network. Runs of different lengths are compared after the same share of their training. Other phases are
    not looked at.

    Args:
        ask: given the number of tenths that are done, from 1 to 9, and the validation score of the network as it would be
            pruned now, says whether to stop.

    Raises:
        HopelessError: in training, where ``ask`` says so.
    """

    def __init__(self, ask: Callable[[int, float], bool]) -> None:
        self._ask = ask

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        if state.spec.phase != "train" or record.score is None:
            return
        start, end = state.spec.kl_weight.settled(state.spec.epochs), state.spec.epochs
        if end <= start:
            return
        done, before = (math.floor(_PARTS * (epoch - start) / (end - start)) for epoch in (record.epoch, record.epoch - 1))
        if before < done and 0 < done < _PARTS and self._ask(done, record.score):
            raise HopelessError(f"after epoch {record.epoch} of {end} of phase train")
