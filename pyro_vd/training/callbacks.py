"""Callbacks: what is done besides the training, after each step and each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from pyro_vd._core.errors import InputError

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.state import TrainingState


class Callback:
    """Base class of callbacks of :func:`~pyro_vd.fit`: override what you need; every method does nothing by default.

    An exception that a callback raises ends the training. Random numbers drawn from torch's generators change the training.

    Where several processes train together, callbacks are called in the one of rank 0 alone, which writes what is written.
    """

    in_every_process: ClassVar[bool] = False
    """Whether it is called in every process."""

    def on_start(self, state: TrainingState) -> None:
        """Called before the first step; in a resumed training ``state`` is that of the checkpoint."""

    def on_step(self, state: TrainingState) -> None:
        """Called after every step, also after one that was skipped; ``state.step`` counts from 1."""

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        """Called after every epoch, before its checkpoint is written.

        A training that was killed in between is resumed with that epoch: what a callback writes, it must be able to replace.
        """

    def on_end(self, state: TrainingState) -> None:
        """Called once after :meth:`on_start` has succeeded, also where the training ends with an error."""


class Callbacks(Callback):
    """Several callbacks as one; they are called in their order, and ended in the reverse one.

    Args:
        callbacks: a list of callbacks.
        first: whether this is the process of rank 0; otherwise only those of every process are called.

    Raises:
        InputError: no list, or something else than callbacks in it.
    """

    def __init__(self, callbacks: Any, first: bool = True) -> None:
        if not isinstance(callbacks, Sequence) or not all(isinstance(each, Callback) for each in callbacks):
            raise InputError(
                name="callbacks", value=callbacks, allowed="a list of objects of subclasses of pyro_vd.training.Callback"
            )
        self._callbacks: list[Callback] = [each for each in callbacks if first or each.in_every_process]
        self._ends = ExitStack()

    def on_start(self, state: TrainingState) -> None:
        with ExitStack() as ends:
            for callback in self._callbacks:
                callback.on_start(state)
                ends.callback(callback.on_end, state)
            self._ends = ends.pop_all()

    def on_step(self, state: TrainingState) -> None:
        for callback in self._callbacks:
            callback.on_step(state)

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        for callback in self._callbacks:
            callback.on_epoch(state, record)

    def on_end(self, state: TrainingState) -> None:
        self._ends.close()
