"""Locks between processes, on one machine or on several that share a file system."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import platform
import sys
import time
from pathlib import Path
from types import TracebackType

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""The error numbers of a file system without locks."""
_HELD = (errno.EACCES, errno.EAGAIN)
_STEP = 0.05  # seconds between two attempts


class FileLock:
    """A lock that at most one process holds, in the form of a file that says who holds it.

    The operating system releases it when its process ends, even when it is killed. Between machines it holds where the file
    system has locks: NFS 4, or 3 with its lock service, CephFS, GPFS, Lustre mounted with ``flock``, SMB.

    Args:
        path: of the file, in a folder that exists.
        keep: leave the file in place when the lock is released.
    """

    def __init__(self, path: Path, keep: bool = True) -> None:
        self._path = path
        self._keep = keep
        self._file: int | None = None

    def acquire(self, wait: float = 0.0) -> bool:
        """Take the lock; False if another process, or another object in this one, holds it after ``wait`` seconds.

        Raises:
            OSError: the file cannot be made, or the file system has no locks.
        """
        until = time.monotonic() + wait
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if _lock(file) and self._is(file):
                    with contextlib.suppress(OSError):  # on a full disk the lock holds too; only its holder is not named
                        os.ftruncate(file, 0)
                        os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
                    self._file, file = file, -1
                    return True
            except OSError as error:
                if error.errno in NO_LOCKS:
                    why = "its file system has no locks between processes; choose a folder on another one"
                    raise OSError(error.errno, why, str(self._path)) from error
                raise
            finally:
                if file >= 0:
                    os.close(file)
            if time.monotonic() >= until:
                return False
            time.sleep(_STEP)

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._file is None:
            return
        try:
            if self._keep:
                os.ftruncate(self._file, 0)
            else:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._file)
            self._file = None

    def holder(self) -> str:
        """Who holds the lock, as far as its file says."""
        try:
            return self._path.read_text("utf-8", "replace") or "another process"
        except OSError:
            return "another process"

    def __enter__(self) -> FileLock:
        self.acquire(math.inf)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def _is(self, file: int) -> bool:
        """Whether the open file is still the one at the path; its last holder may have removed it."""
        try:
            return os.path.samestat(os.fstat(file), self._path.stat())
        except FileNotFoundError:
            return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in _HELD:
                raise
            return False
        return True

else:
    import fcntl

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                raise
            return False
        return True
