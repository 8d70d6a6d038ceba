"""Terminals and streams of any kind: consoles of rich that show text as it is, and standard streams that take any text."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def console(**options: Any) -> Console:
    """Return a console of rich that reads no markup and no emoji codes in text, which may be names of folders and settings.

    Args:
        options: of ``rich.console.Console``.
    """
    from rich.console import Console

    return Console(markup=False, emoji=False, **options)


def text_column(template: str) -> TextColumn:
    """Return a column of a progress bar that shows text as it is.

    Args:
        template: such as ``{task.description}``.
    """
    from rich.progress import TextColumn

    return TextColumn(template, markup=False)


def prepare_streams() -> None:
    """Make the standard streams fit for any text.

    Standard output shows a replacement for a character that its encoding lacks; standard error does so by itself. A stream that
    is closed leads to the null device: a file that is opened later would get its number, and be overwritten by messages.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def finish_output(text: str = "") -> None:
    """Write out what standard output still holds, and a text after it.

    Raises:
        OSError: it cannot be written; it is discarded.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        raise type(error)(error.errno, error.strerror, "standard output") from error


def discard_output() -> None:
    """Let standard output lead to the null device, so that what it still holds does not fail again when Python ends."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
