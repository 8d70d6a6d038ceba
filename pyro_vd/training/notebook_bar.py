"""A progress bar in the output of a notebook's cell: one text that is replaced, so that the saved notebook has the last one."""

from __future__ import annotations

import io
import time
from typing import Any

from rich.progress import Progress as RichProgress

from pyro_vd._core.terminal import console

_SECONDS = 0.25  # between two texts


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return console().is_jupyter


class NotebookBar:
    """Shows the bars of rich as text, by IPython's display; rich itself would show a widget, of which nothing is saved.

    Args:
        bars: what is shown; they are never started.
    """

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars

    def start(self) -> None:
        """Show the first text."""
        from IPython.display import display

        self._display: Any = display(self._text(), raw=True, display_id=True)
        self._last = time.monotonic()

    def refresh(self, now: bool = False) -> None:
        """Replace the text, at most four times a second unless ``now``."""
        if now or time.monotonic() - self._last > _SECONDS:
            self._display.update(self._text(), raw=True)
            self._last = time.monotonic()

    def _text(self) -> dict[str, str]:
        shown = console(file=io.StringIO(), width=200, color_system=None, force_jupyter=False)
        with shown.capture() as captured:
            shown.print(self._bars.get_renderable())
        return {"text/plain": captured.get().strip()}
