"""The end of a process at a signal: at once, with nothing half written left behind.

A signal handler that raises, as ``sys.exit`` does, is not enough. Python discards an exception that comes up in a destructor,
and the process goes on; one that comes up while a module is imported leaves a file open, of which Python may warn, or makes the
C++ code of the module abort.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

INTERRUPTED = 130
"""The exit code after Ctrl-C."""
_IMPORT = "<frozen importlib._bootstrap>"
_RAISES = signal.default_int_handler
_SHOW_CURSOR = "\x1b[?25h"

_unfinished: set[Path] = set()
"""The temporary files and folders of this process."""

if hasattr(os, "register_at_fork"):  # Windows has none
    os.register_at_fork(after_in_child=_unfinished.clear)  # they are those of the parent


@contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """Have :func:`end_process` remove a temporary file or folder while the block is carried out."""
    _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for temporary files, which is removed after the block, or by :func:`end_process`."""
    with tempfile.TemporaryDirectory() as name, unfinished(folder := Path(name)):
        yield folder


def end_process(code: int, message: str = "") -> NoReturn:
    """End this process at once, without an exception, so that a signal handler may call it wherever the process is.

    Temporary files and folders are removed; nothing else is closed or written.

    Args:
        code: the exit code.
        message: one line for standard error.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, full, or replaced by something else
        os.write(sys.stderr.fileno(), f"{message}\n".encode() if message else b"")  # print() may have been interrupted itself
    for path in list(_unfinished):
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    os._exit(code)


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, and end the process where that would not be heard: in an import or a destructor.

    A process that ignores Ctrl-C, as one in the background does, goes on doing so. Processes that are forked in the block, as
    those that load data, do the same, without the message.

    Args:
        message: one line for standard error, where the process is ended here.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not _RAISES:
        yield
        return
    interrupted, shown, process = False, sys.unraisablehook, os.getpid()

    def end() -> NoReturn:
        if os.getpid() != process:  # forked from this one, which says it itself
            end_process(INTERRUPTED)
        end_process(INTERRUPTED, (_SHOW_CURSOR if sys.stderr.isatty() else "") + message)  # a progress bar may have hidden it

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        while frame is not None:
            if frame.f_code.co_filename == _IMPORT:
                end()
            frame = frame.f_back
        raise KeyboardInterrupt

    def hook(discarded: UnraisableHookArgs) -> None:
        if issubclass(discarded.exc_type, KeyboardInterrupt):
            end()
        if not (interrupted and issubclass(discarded.exc_type, ResourceWarning)):  # of a file that Ctrl-C has left open
            shown(discarded)

    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = hook
    try:
        yield
    except KeyboardInterrupt as error:
        traceback.clear_frames(error.__traceback__)  # closes what they have left open
        raise
    finally:
        sys.unraisablehook = shown
        signal.signal(signal.SIGINT, _RAISES)
