"""A program that reads the whole of an HDF5 file, so that a crash or an endless loop of the C library ends only this process.

Its arguments are the file, the largest number of bytes that the file's arrays may take, and a limit of processor time in
seconds. It imports nothing from pyro_vd, so that it starts fast.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import h5py

_DEEPEST, _MOST_OBJECTS = 16, 100_000
_OWN = 2**29
"""Bytes that Python and h5py take."""


def _objects(group: Any, levels: int) -> Iterator[Any]:
    if not levels:
        raise ValueError(f"more than {_DEEPEST} levels of groups")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} is a link to somewhere else")
        yield (part := group[name])
        if isinstance(part, h5py.Group):
            yield from _objects(part, levels - 1)


def check(path: str, most: int) -> None:
    """Read every array and attribute of a file.

    Args:
        path: the file.
        most: the largest number of bytes that its arrays may take.

    Raises:
        Exception: the file is broken, too large, or refers to other files.
    """
    with h5py.File(path) as file:
        dict(file.attrs)
        for count, part in enumerate(_objects(file, _DEEPEST)):
            dict(part.attrs)
            if count > _MOST_OBJECTS:
                raise ValueError("too many groups and arrays")
            if isinstance(part, h5py.Dataset):
                if part.is_virtual or part.external:
                    raise ValueError(f"{part.name!r} is kept in other files")
                if (most := most - part.nbytes) < 0:
                    raise ValueError("its arrays are too large for a file of its size")
                part[()]


def main() -> None:
    path, most, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
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
