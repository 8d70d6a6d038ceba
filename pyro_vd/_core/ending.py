"""The end of a process at a signal: at once, with nothing half written left behind.

A signal handler that raises, as ``sys.exit`` does, is not enough. Python discards an exception that comes up in a destructor,
and the process goes on; one that comes up while a module is imported leaves a file open, of which Python may warn.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

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
