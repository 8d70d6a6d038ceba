"""The progress bars of a sweep, on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TimeRemainingColumn

from pyro_vd._core.terminal import console, text_column
from pyro_vd.training.progress import Bars

if TYPE_CHECKING:
    from pyro_vd.workflow.settings import SweepRun


class SweepProgress:
    """A bar for the number of finished runs, and a bar for the epochs of each run in progress.

    Args:
        total: the number of runs.
        shown: whether anything is shown.
    """

    def __init__(self, total: int, shown: bool) -> None:
        columns = (text_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bars(*columns, console=console(stderr=True), disable=not shown, refresh_per_second=4)
        self._total = total
        self._all = self._bar.add_task("runs", total=total)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def tick(self, running: Mapping[str, SweepRun], ended: int) -> None:
        """Show how many epochs the runs in progress here have done, and how many runs have ended, here or elsewhere."""
        waits = not running and ended < self._total
        what = "runs; none is left to take, waiting for those of other terminals" if waits else "runs"
        self._bar.update(self._all, completed=ended, description=what)
        for name, run in running.items():
            if name not in self._tasks:
                self._tasks[name] = self._bar.add_task(name, total=run.epochs)
            self._bar.update(self._tasks[name], completed=run.epochs_done())

    def end(self, name: str, what: str) -> None:
        """Show what has become of a run, in a line that stays."""
        if name in self._tasks:
            self._bar.remove_task(self._tasks.pop(name))
        if not self._bar.disable:
            self._bar.console.print(f"{name}: {what}", soft_wrap=True)
