"""A callback that interrupts a training."""

from __future__ import annotations

from pyro_vd.training.callbacks import Callback
from pyro_vd.training.state import TrainingState


class Interrupt(Callback):
    """Raises KeyboardInterrupt, as Ctrl-C does, after the first step of one epoch, counted from 0."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def on_step(self, state: TrainingState) -> None:
        if state.epoch == self._epoch:
            raise KeyboardInterrupt
