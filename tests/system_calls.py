"""System calls that fail or kill, by the filters of the Linux kernel (seccomp), in children of a process of its own.

Run as a program, it finds which system calls an atomic write of a file makes. Then it writes again, with each of them failing
or killing the process, and prints as JSON what became of each write: ``[first call, what it did, exit code, content of the
file, names in the folder]``.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyro_vd._core.storage import clear_temporaries, write_atomically

OLD, NEW = b"old", b"n" * 1000 + b"w" * 1001
PARTS = [NEW[:1000], NEW[1000:]]
WRITTEN, REFUSED, OTHER = range(3)
"""Exit codes: the write returned; it raised as documented; it raised something else."""

_CALLS = 512
"""More than there were system calls when this was written."""
_ERROR, _KILL, _ALLOW = 0x0005_0000, 0x8000_0000, 0x7FFF_0000
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _THIRD_ARGUMENT = 0, 32
"""The places of the call's number and of its third argument in what a filter sees."""


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("then", ctypes.c_ubyte), ("other", ctypes.c_ubyte), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def spoil(calls: range, kills: bool, third: int | None = None) -> None:
    """Let system calls of this process fail with EIO, or kill the process; ``third``: only those with this third argument."""
    rest = 2 if third is None else 4
    lines = [(_LOAD, 0, 0, _NUMBER), (_IF_AT_LEAST, 0, rest, calls.start), (_IF_AT_LEAST, rest - 1, 0, calls.stop)]
    lines += [] if third is None else [(_LOAD, 0, 0, _THIRD_ARGUMENT), (_IF_EQUAL, 0, 1, third)]
    lines += [(_RETURN, 0, 0, _KILL if kills else _ERROR | errno.EIO), (_RETURN, 0, 0, _ALLOW)]
    program = _Program(len(lines), (_Instruction * len(lines))(*lines))
    call = ctypes.CDLL(None, use_errno=True).prctl
    for arguments in ((38, 1, 0, 0, 0), (22, 2, ctypes.byref(program))):  # no new privileges; a filter
        if call(*arguments):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")


def written(path: Path, calls: range, kills: bool, third: int | None = None) -> int:
    """The exit code of a child process that writes the file while its system calls are spoilt; a signal is negative."""
    path.write_bytes(OLD)
    child = os.fork()
    if not child:
        signal.alarm(20)
        code = OTHER
        try:
            spoil(calls, kills, third)
            write_atomically(path, PARTS)
            code = WRITTEN
        except OSError as error:
            code = REFUSED if "nothing was changed" in str(error) and error.filename == str(path) else OTHER
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def used(path: Path, calls: range) -> Iterator[int]:
    """The calls among these without which the write does not end as it should."""
    if written(path, calls, kills=True) == WRITTEN:
        return
    if len(calls) == 1:
        yield calls[0]
        return
    half = len(calls) // 2
    yield from used(path, calls[:half])
    yield from used(path, calls[half:])


def outcome(path: Path, calls: range, kills: bool, third: int | None = None) -> list[Any]:
    """What becomes of a write in a child process with spoilt calls."""
    code = written(path, calls, kills, third)
    content = {OLD: "old", NEW: "new"}.get(path.read_bytes(), "broken")
    names = sorted(each.name for each in path.parent.iterdir())
    clear_temporaries(path.parent)
    assert list(path.parent.iterdir()) == [path], "what is left over is cleared"
    return [calls.start, "kill" if kills else "error", code, content, names]


def main() -> None:
    path = Path(sys.argv[1])
    calls = list(used(path, range(_CALLS)))
    clear_temporaries(path.parent)
    found = [outcome(path, range(call, call + 1), kills) for call in calls for kills in (False, True)]
    second_part = [outcome(path, range(_CALLS), kills, third=len(PARTS[1])) for kills in (False, True)]
    print(json.dumps(found + second_part))


if __name__ == "__main__":
    main()
