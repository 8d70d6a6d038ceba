"""Arrays on disk that are mapped into memory, as a data set of examples."""

from __future__ import annotations

import mmap
from functools import partial
from typing import Any

import numpy as np
import torch.utils.data

from pyro_vd._core.errors import InputError
from pyro_vd.networks.inputs import map_leaves, named_leaves


class MappedExamples(torch.utils.data.Dataset[Any]):
    """Examples of inputs, or of inputs and observations, some of which are memory-mapped arrays (``numpy.memmap``).

    What is read of such an array is copied, and the mapped pages are given back, so that the process holds only a batch.

    Args:
        parts: the inputs, and the observations if there are any, each in any form.

    Raises:
        InputError: the arrays do not have one length.
    """

    def __init__(self, *parts: Any) -> None:
        self._parts = parts
        named = dict(zip(("inputs", "observations"), parts, strict=False))
        lengths = {name: len(leaf) for name, leaf in named_leaves(named) if _is_array(leaf)}
        if len(set(lengths.values())) != 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(
                f"memory-mapped arrays and those beside them have the lengths {listed}; they must be equal",
                name="data",
                value=lengths,
                allowed="arrays of one length",
            )
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        chosen = map_leaves(lambda leaf: _rows(leaf, indices) if _is_array(leaf) else leaf, self._parts)
        return [map_leaves(partial(_row, row), chosen) for row in range(len(indices))]


def has_mapped(data: Any) -> bool:
    """Whether one of the arrays in inputs and observations is memory-mapped."""
    return any(isinstance(leaf, np.memmap) for _, leaf in named_leaves(data))


def _is_array(leaf: Any) -> bool:
    return getattr(leaf, "ndim", 0) > 0


def _row(row: int, leaf: Any) -> Any:
    return leaf[row] if _is_array(leaf) else leaf


def _rows(array: Any, indices: list[int]) -> Any:
    """A copy of some rows, in the byte order of this machine."""
    if not isinstance(array, np.memmap):
        return array[indices]
    rows = np.array(array[indices], array.dtype.newbyteorder("="), subok=False)
    mapped: Any = array._mmap  # type: ignore[attr-defined]
    if array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):  # with "c", changes in memory would be lost
        mapped.madvise(mmap.MADV_DONTNEED)
    return rows
