"""A training's progress bar, on standard error."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from pyro_vd.training_state import EpochRecord


_SECONDS_A_LINE = 10.0  # in a log file, where a bar cannot move


class Progress:
    """One bar over all steps, with the last epoch's loss, KL, error and compression beside it.

    Args:
        phase: what is trained, shown first.
        done: steps taken before, when a training goes on.
        steps: steps in all.
        shown: False shows nothing.
    """

    def __init__(self, phase: str, done: int, steps: int, shown: bool) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
            disable=not shown,
            refresh_per_second=4,
        )
        self._last_line = time.monotonic()
        self._task = self._bar.add_task(phase, total=steps, completed=done, figures="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def step(self) -> None:
        """One step was taken."""
        self._bar.advance(self._task)

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended: show its figures."""
        error = "" if record.error is None else f" error {100 * record.error:.2f} %"
        skipped = f" skipped {record.skipped}" if record.skipped else ""
        smaller = f"{record.compression:.1f}x" if math.isfinite(record.compression) else "∞"
        figures = f"epoch {record.epoch} loss {record.loss:.0f} KL {record.kl:.0f}{error} {smaller}{skipped}"
        self._bar.update(self._task, figures=figures)
        now = time.monotonic()
        if not self._bar.console.is_terminal and not self._bar.disable and now - self._last_line > _SECONDS_A_LINE:
            self._bar.console.print(f"{record.phase} {figures}")
            self._last_line = now
