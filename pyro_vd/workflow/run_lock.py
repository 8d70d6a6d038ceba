"""One process at a time trains into the folder of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd._core.locks import NO_LOCKS, FileLock
from pyro_vd.workflow.run_folder import LOCK, make_run_dir


@contextmanager
def only_process(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Keep other processes from training into the folder of a run, which is made where it does not exist.

    On a file system without locks nothing is kept away.

    Args:
        folder: of the run.
        wait: how long to wait for a process that is about to end, in seconds.

    Raises:
        InputError: another process trains into it.
    """
    make_run_dir(folder)
    lock = FileLock(folder / LOCK, keep=False)
    try:
        taken = lock.acquire(wait)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        taken = True
    if not taken:
        raise InputError(
            f"output folder (={str(folder)!r}) is in use: {lock.holder()} trains into it; wait for its end, or choose another "
            "with --out",
            name="output folder",
            value=str(folder),
            allowed="a folder that no other process trains into",
        )
    try:
        yield
    finally:
        lock.release()
