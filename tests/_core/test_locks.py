"""A lock between processes: one holder at a time, released by the system when its process is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ENVIRONMENT, full_disk, python

from pyro_vd._core.locks import FileLock

HOLD = """
import sys, time
from pathlib import Path
from pyro_vd._core.locks import FileLock
lock = FileLock(Path(sys.argv[1]), keep=False)
assert lock.acquire(20)
print("held", flush=True)
time.sleep(60)
"""

COUNT = """
import sys
from pathlib import Path
from pyro_vd._core.locks import FileLock
for _ in range(40):
    with FileLock(Path(sys.argv[1]), keep=sys.argv[3] == "keep"):
        number = Path(sys.argv[2])
        number.write_text(str(int(number.read_text()) + 1))
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("keep", [True, False])
def test_one_object_at_a_time(tmp_path: Path, keep: bool) -> None:
    one, other = (FileLock(tmp_path / "lock", keep) for _ in range(2))
    assert one.acquire()
    started = time.monotonic()
    assert not other.acquire(0.2)
    assert time.monotonic() - started >= 0.2
    one.release()
    one.release()
    assert (tmp_path / "lock").exists() == keep
    assert other.acquire()
    other.release()


def test_released_when_its_process_is_killed(tmp_path: Path) -> None:
    process = hold(tmp_path / "lock")
    lock = FileLock(tmp_path / "lock", keep=False)
    assert not lock.acquire()
    assert f"process {process.pid} on " in lock.holder()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert lock.acquire()
    lock.release()
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("keep", ["keep", "remove"])
def test_nothing_is_lost(tmp_path: Path, keep: str) -> None:
    """Four processes add 40 times to a number in a file, also where each removes the file of the lock."""
    number = tmp_path / "number"
    number.write_text("0")
    line = [sys.executable, "-c", COUNT, str(tmp_path / "lock"), str(number), keep]
    processes = [subprocess.Popen(line, env=ENVIRONMENT) for _ in range(4)]
    assert [process.wait(100) for process in processes] == [0] * 4
    assert number.read_text() == "160"


def test_a_full_disk(tmp_path: Path) -> None:
    """The lock is taken; its holder is not named."""
    one, other = (FileLock(tmp_path / "lock") for _ in range(2))
    with full_disk(0):
        assert one.acquire()
        assert not other.acquire()
    assert other.holder() == "another process"
    one.release()


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "none" / "lock").acquire()
    assert python("import pyro_vd._core.locks").returncode == 0
