"""Reads the whole of a Parquet file, in a process of its own: see :mod:`pyro_vd._core.trial`. It imports nothing from pyro_vd.

What Arrow reads of a broken file is not checked by itself, and a C++ exception that Python does not know ends the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_ROWS = 1024
"""Rows that are unpacked at a time."""


def unpacked_size(about: Any) -> int:
    """Return the bytes of all columns as the metadata of a file tell them, in which a text of many rows is counted once."""
    groups = map(about.row_group, range(about.num_row_groups))
    return sum(group.column(place).total_uncompressed_size for group in groups for place in range(about.num_columns))


def is_text(kind: Any) -> bool:
    """Return whether a column of this type holds texts of any length."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def parts(path: Any) -> Iterator[Any]:
    """Read a file in parts, with each text once: a small file may unpack to any size, and one text may stand in all rows.

    Raises:
        Exception: the file is broken.
    """
    texts = [field.name for field in pq.read_schema(path) if is_text(field.type)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for part in file.iter_batches(_ROWS):
            part.validate(full=True)
            yield part


def check(path: str, most: int) -> None:
    """Read every column of a file.

    Args:
        path: the file.
        most: the largest number of bytes that its columns may take.

    Raises:
        Exception: the file is broken or too large.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # reserves no address space, which is limited
    pa.set_cpu_count(1)
    if unpacked_size(pq.read_metadata(path)) > most:
        raise ValueError("its columns are too large for a file of its size")
    for _ in parts(path):
        pass
