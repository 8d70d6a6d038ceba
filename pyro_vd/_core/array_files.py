"""Arrays in untrusted .npz files: sizes and headers are checked before memory is allocated for them."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import check_regular, check_unpacked, reading

_KINDS = "biufcU"
_LONGEST_HEADER = 2000
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path, what: str, needed: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file by name, as read-only arrays; zip's checksum of each member is checked.

    Args:
        path: the file.
        what: what the file should be, for errors, such as "an .npz file".
        needed: names of the arrays to read; by default all.

    Raises:
        InputError: the file is missing or broken, or lacks a needed array; a member is encrypted, occurs twice, or is not a
            plain array of numbers or text; or the arrays would take more than 256 MB and 100 times the size of the file.
    """
    with reading(path, what):
        check_regular(path, what)
    with reading(path, what), path.open("rb") as file:
        if file.read(2) != b"PK":
            raise InputError(f"{path} is truncated or not {what}: it is not a zip file", name=str(path), allowed=what)
        with zipfile.ZipFile(file) as archive:
            names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
            if missing := [name for name in needed if name not in names]:
                message = f"{path} lacks {', '.join(missing)}; it holds {', '.join(names) or 'nothing'}"
                raise InputError(message, name=str(path), value=names, allowed=f"a file with {', '.join(needed)}")
            if len(set(names)) < len(names):
                raise InputError(f"{path} is corrupt: it has two arrays of the same name", name=str(path), value=names)
            members = {n: member for n, member in zip(names, archive.infolist(), strict=True) if n in needed or not needed}
            size = sum(member.file_size for member in members.values())
            check_unpacked(path, size)
            return {name: _array(archive, member) for name, member in members.items()}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename!r} has a compression that NumPy does not use")
    content = archive.read(member)
    header = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(header)
        shape, in_columns, dtype = _HEADERS[version](header, max_header_size=_LONGEST_HEADER)
    except Exception as error:
        raise ValueError(f"{member.filename!r} is not an array") from error
    if dtype.kind not in _KINDS or dtype.names or any(size < 0 for size in shape):
        raise ValueError(f"{member.filename!r} is an array of type {dtype}; it must contain numbers or text")
    if math.prod(shape) * dtype.itemsize != len(content) - header.tell():
        raise ValueError(f"{member.filename!r} does not have the number of elements of its shape {shape}")
    flat = np.frombuffer(content, dtype, offset=header.tell())
    return flat.reshape(shape, order="F" if in_columns else "C")
