"""The result of a training: the record of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyro_vd._core.extras import check_installed
from pyro_vd._core.shown import Row, Shown, as_plain
from pyro_vd.evaluation.epoch_record import EpochRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class FitResult(Shown):
    """What :func:`~pyro_vd.fit` returns besides the model and the guide, which it trains in place."""

    history: tuple[EpochRecord, ...]
    skipped: int
    """Steps that were skipped because a loss or gradient was not finite."""
    epoch: int
    """The epoch whose parameters model and guide have: the last one, or with ``restore_best`` the best one."""
    compile_seconds: tuple[float, ...] = ()
    """How long each compilation of the step has taken in this call, with ``compile=True``: one for each size of the network."""

    def __repr__(self) -> str:
        last = f", the last: {self.history[-1].line()}" if self.history else ""
        taken = f", parameters of epoch {self.epoch}" if self.history and self.epoch != self.history[-1].epoch else ""
        return f"FitResult({len(self.history)} epochs{last}; {self.skipped} steps skipped{taken})"

    def plot(self) -> Figure:
        """Draw the loss, the validation score and the compression over the epochs.

        Raises:
            MissingPackageError: the extra ``plots`` is not installed.
        """
        check_installed("plot", "matplotlib", "pillow")
        from pyro_vd.plots.training import training_curves

        return training_curves(self.history)

    def _rows(self) -> Sequence[Row]:
        return [as_plain(record) for record in self.history]

    def _notes(self) -> Sequence[str]:
        return [f"Model and guide have the parameters of epoch {self.epoch}; {self.skipped} steps were skipped."]
