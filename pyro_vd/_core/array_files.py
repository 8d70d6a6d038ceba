"""Arrays in .npz files that may come from anywhere: sizes and headers are checked before any memory is taken for them."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import reading

_LEAST, _A_BYTE = 2**28, 100
"""What any file may become in bytes, and for each of its own bytes if that is more."""

_KINDS = "biufcU"
_LONGEST_HEADER = 2000
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path, what: str, needed: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file, read-only, by name. Checksums are those of zip, of each member.

    Args:
        path: the file.
        what: what it should be, for messages, such as "an .npz file".
        needed: those to read; by default all.

    Raises:
        InputError: the file is missing or broken, or lacks one that is needed; a member is encrypted, there twice, or no plain
            array of numbers or text; or they would take more than 256 MB and a hundred times the file's own size.
    """
    with reading(path, what), path.open("rb") as file:
        if file.read(2) != b"PK":
            raise InputError(f"{path} is truncated or not {what}: it is no zip file")
        with zipfile.ZipFile(file) as archive:
            names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
            if missing := [name for name in needed if name not in names]:
                raise InputError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(names) or 'nothing'}")
            if len(set(names)) < len(names):
                raise InputError(f"{path} is corrupt: a name is there twice")
            members = {n: member for n, member in zip(names, archive.infolist(), strict=True) if n in needed or not needed}
            size, most = sum(member.file_size for member in members.values()), max(_LEAST, _A_BYTE * path.stat().st_size)
            if size > most:
                raise InputError(
                    f"{path} would take {size:,} bytes; of a file of its size at most {most:,} are allowed. Write it without "
                    "compression, as numpy.savez does"
                )
            return {name: _array(archive, member) for name, member in members.items()}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename!r} is compressed in a way that NumPy does not use")
    content = archive.read(member)
    header = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(header)
        shape, in_columns, dtype = _HEADERS[version](header, max_header_size=_LONGEST_HEADER)
    except Exception as error:
        raise ValueError(f"{member.filename!r} is no array") from error
    if dtype.kind not in _KINDS or dtype.names or any(size < 0 for size in shape):
        raise ValueError(f"{member.filename!r} is an array of type {dtype}; it must be of numbers or text")
    if math.prod(shape) * dtype.itemsize != len(content) - header.tell():
        raise ValueError(f"{member.filename!r} does not have as many numbers as its shape {shape} says")
    flat = np.frombuffer(content, dtype, offset=header.tell())
    return flat.reshape(shape, order="F" if in_columns else "C")
