"""Reads the whole of an HDF5 file, in a process of its own: see :mod:`pyro_vd._core.trial`. It imports nothing from pyro_vd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py

_DEEPEST, _MOST_OBJECTS = 16, 100_000


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
