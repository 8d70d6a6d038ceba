"""Progress bars of a training and of a sweep, on standard error or in a notebook."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from pyro_vd._core.terminal import console, text_column
from pyro_vd.evaluation.deployed import kilobytes
from pyro_vd.training.callbacks import Callback
from pyro_vd.training.notebook_bar import NotebookBar, in_notebook

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.state import TrainingState


_SECONDS_A_LINE = 10.0  # in a log file, where a bar cannot move


class Bars(RichProgress):
    """Rich's progress bars. Where they are not shown, they end without the empty line that older versions of rich print."""

    def stop(self) -> None:
        """End the display."""
        if not self.disable:
            super().stop()


class Progress:
    """One bar over all steps, with the loss, the KL, the score and the compression of the last epoch beside it.

    After the compression come the number of parameters that are not zero and the size of the file that holds them, both of
    the network as it would be pruned now, not compacted.

    Args:
        phase: what is trained, shown first.
        done: steps that were taken before, in a training that is resumed.
        steps: total number of steps.
        shown: whether to show it.
        sizes: whether to show the compression and the sizes.
    """

    def __init__(self, phase: str, done: int, steps: int, shown: bool, sizes: bool = True) -> None:
        self._sizes = sizes
        self._bar = Bars(
            text_column("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            text_column("{task.fields[figures]}"),
            console=console(stderr=True),
            disable=not shown or in_notebook(),
            refresh_per_second=4,
        )
        self._notebook = NotebookBar(self._bar) if shown and in_notebook() else None
        self._last_line = time.monotonic()
        self._task = self._bar.add_task(phase, total=steps, completed=done, figures="")

    def __enter__(self) -> Progress:
        self._bar.start()
        if self._notebook is not None:
            self._notebook.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
        if self._notebook is not None:
            self._notebook.refresh(now=True)

    def step(self) -> None:
        """Advance the bar by one step."""
        self._bar.advance(self._task)
        if self._notebook is not None:
            self._notebook.refresh()

    def epoch(self, record: EpochRecord) -> None:
        """Show the figures of an epoch that is complete."""
        error = "" if record.measured is None else f" {record.measured}"
        skipped = f" skipped {record.skipped}" if record.skipped else ""
        size = f" {record.compression:.1f}x" if math.isfinite(record.compression) else " ∞"
        if record.nonzero_parameters is not None and record.sparse_bytes is not None:
            size += f" ({record.nonzero_parameters:,} left, {kilobytes(record.sparse_bytes)})"
        figures = f"epoch {record.epoch} loss {record.loss:.0f} KL {record.kl:.0f}{error}{size * self._sizes}{skipped}"
        self._bar.update(self._task, figures=figures)
        now = time.monotonic()
        if not self._bar.console.is_terminal and not self._bar.disable and now - self._last_line > _SECONDS_A_LINE:
            self._bar.console.print(f"{record.phase} {figures}")
            self._last_line = now


class ProgressBar(Callback):
    """Shows a :class:`Progress` over all steps of a training: on standard error, or in the output of a notebook's cell.

    ``fit(..., progress=True)`` adds one.

    Args:
        sizes: whether to show the compression and the sizes of the network as it would be pruned now.
    """

    def __init__(self, sizes: bool = True) -> None:
        self._sizes = sizes

    def on_start(self, state: TrainingState) -> None:
        steps = len(state.batches)
        self._bar = Progress(state.spec.phase, state.epoch * steps, state.spec.epochs * steps, True, self._sizes)
        self._bar.__enter__()

    def on_step(self, state: TrainingState) -> None:
        self._bar.step()

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        self._bar.epoch(record)

    def on_end(self, state: TrainingState) -> None:
        self._bar.__exit__(None, None, None)
