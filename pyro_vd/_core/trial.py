"""Reading of a file in another process first, so that a crash or an endless loop of a library in C or C++ does no harm."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from pyro_vd._core.reading import most_unpacked

_PROGRAM = Path(__file__).with_name("trial_process.py")
_SECONDS = 5
"""The processor time in seconds for a small file, a hundred times what reading it takes."""


def try_to_read(path: Path, check: Path) -> None:
    """Read the whole of a file in another process.

    Args:
        path: the file.
        check: a Python file with a function ``check(path, most)`` that reads a file, whose content may take ``most`` bytes, or
            raises any exception. It imports nothing from pyro_vd, so that the process starts fast.

    Raises:
        ValueError: the file cannot be read, or not within its limits of memory and time.
    """
    size = path.stat().st_size
    seconds = _SECONDS + size // 2**21
    line = [sys.executable, str(_PROGRAM), str(check), str(path.resolve()), str(most_unpacked(size)), str(seconds)]
    try:  # longer than the processor time: the processor may be busy, and Windows cannot limit the processor time
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=60 + 10 * seconds)
    except subprocess.TimeoutExpired:
        raise ValueError("it cannot be read in time") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ValueError("it cannot be read in time" if name in ("SIGXCPU", "SIGKILL") else f"reading it ends in {name}")
    if done.returncode:
        raise ValueError((done.stderr.splitlines() or ["it cannot be read"])[-1])
