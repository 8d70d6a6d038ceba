"""The program of :mod:`~pyro_vd._core.trial`, which reads a file within limits of memory and processor time.

Its arguments are a Python file with a function ``check(path, most)``, the file to read, the largest number of bytes that the
content may take, and a limit of processor time in seconds. It imports nothing from pyro_vd.
"""

from __future__ import annotations

import runpy
import sys

_OWN = 2**29
"""Bytes that Python and a library take."""


def main() -> None:
    program, path, most, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    check = runpy.run_path(program)["check"]  # imports the library, which is not counted as reading
    if sys.platform != "win32":
        import resource

        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + seconds, int(used) + seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (most + _OWN, most + _OWN))  # one text may be that of many places of an array
    try:
        check(path, most)
    except BaseException as error:
        sys.exit(" ".join(f"{error}".split()) or type(error).__name__)


if __name__ == "__main__":
    main()
