"""Pruned tensors as compressed sparse rows in the smallest integer types, and back; every index is checked before its use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.export.quantisation import codebook

_INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PARTS = ("crow", "col", "values")
PARTS = (*_PARTS, "codebook")
"""The ends of the names of the tensors by which :func:`pack` replaces one; they follow its name."""
_HEADER = 70
"""About as many bytes one more tensor takes in the header of a safetensors file."""
_Parts = dict[str, Tensor]


def pack(tensors: Mapping[str, Tensor], *, quantised: bool = False) -> dict[str, Tensor]:
    """Replace tensors that are mostly zeros by compressed sparse rows. Biases, and tensors that would grow, stay as they are.

    A tensor of two dimensions or more is treated as a matrix of ``shape[0]`` rows. It is replaced by three tensors if these are
    smaller: ``NAME.crow`` (rows + 1), where each row begins in the other two, and where the last row ends; ``NAME.col``
    (non-zeros), the columns, rising within a row; and ``NAME.values`` (non-zeros). These are the arguments of
    ``scipy.sparse.csr_array((values, col, crow), shape)``. ``crow``, ``col`` and int64 tensors are stored in the smallest of
    uint8, int16, int32 and int64 that holds them.

    Args:
        tensors: by name.
        quantised: whether each of these tensors gets a codebook if that is smaller: ``NAME.values`` are then uint8, the
            places of the values in ``NAME.codebook``.

    Raises:
        InputError: a value to quantise is NaN or infinite.
    """
    return _packed(tensors, lambda name, rows: [rows, _coded(name, rows)] if quantised else [rows], _rows)


def packed_shapes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the types and shapes that :func:`pack` would return, in a fraction of its time; new tensors have no values."""
    return _packed(tensors, lambda _, rows: [rows], _shapes_of_rows)


def _packed(
    tensors: Mapping[str, Tensor],
    forms_of: Callable[[str, _Parts], list[_Parts]],
    rows_of: Callable[[str, Tensor], _Parts],
) -> dict[str, Tensor]:
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        forms: list[_Parts] = [{name: _smallest(tensor) if tensor.dtype == torch.int64 else tensor}]
        if tensor.ndim >= 2 and tensor.dtype in _FLOATS:
            forms += forms_of(name, rows_of(name, tensor))
        smallest = min(forms, key=_bytes)
        stored |= smallest
    return stored


def _bytes(parts: _Parts) -> int:
    return sum(part.nbytes + _HEADER for part in parts.values())


def _rows(name: str, tensor: Tensor) -> _Parts:
    matrix = tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))
    row, col = matrix.nonzero(as_tuple=True)
    crow = torch.bincount(row, minlength=len(matrix)).cumsum(0)
    parts = _smallest(torch.cat([crow.new_zeros(1), crow])), _smallest(col), matrix[row, col]
    return {f"{name}.{part}": tensor for part, tensor in zip(_PARTS, parts, strict=True)}


def _shapes_of_rows(name: str, tensor: Tensor) -> _Parts:
    kept = tensor.reshape(len(tensor), math.prod(tensor.shape[1:])) != 0
    count, columns = int(kept.count_nonzero()), kept.any(0).nonzero()
    last = int(columns[-1]) if len(columns) else 0
    lengths = {"crow": len(kept) + 1, "col": count, "values": count}
    kinds = {"crow": _kind(0, count), "col": _kind(0, last), "values": tensor.dtype}
    return {f"{name}.{part}": torch.empty(lengths[part], dtype=kinds[part], device="meta") for part in _PARTS}


def _coded(name: str, rows: _Parts) -> _Parts:
    codes, values = codebook(rows[f"{name}.values"])
    return {**rows, f"{name}.values": codes, f"{name}.codebook": values}


def _smallest(indices: Tensor) -> Tensor:
    low, high = (int(indices.min()), int(indices.max())) if indices.numel() else (0, 0)
    return indices.to(_kind(low, high))


def _kind(low: int, high: int) -> torch.dtype:
    """The smallest integer type that holds both numbers."""
    return next(kind for kind in _INTEGERS if torch.iinfo(kind).min <= low and high <= torch.iinfo(kind).max)


def unpack(where: str, stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Restore the tensors that were given to :func:`pack` from those that it returned.

    Args:
        where: the file, for messages.
        stored: the tensors of a file; they are not trusted. Tensors that do not belong to the network are returned as they are.
        wanted: the network's tensors, for their shapes and types. Memory is taken for these, so check their sizes before.

    Raises:
        InputError: a part is missing or of another type or size; or an index is out of range, not rising, or there twice.
    """
    tensors = dict(stored)
    for name, like in wanted.items():
        if name in stored and like.dtype == torch.int64 and stored[name].dtype in _INTEGERS:
            tensors[name] = stored[name].long()
        if name in stored or f"{name}.crow" not in stored or like.ndim < 2:
            continue
        try:
            crow, col, values = (tensors.pop(f"{name}.{part}") for part in _PARTS)
        except KeyError as error:
            raise _corrupt(where, name, f"{error} is missing") from error
        if f"{name}.codebook" in stored:
            values = _decoded(where, name, values, tensors.pop(f"{name}.codebook"))
        parts = {"crow": (crow, _INTEGERS), "col": (col, _INTEGERS), "values": (values, _FLOATS)}
        for part, (tensor, kinds) in parts.items():
            if tensor.ndim != 1 or tensor.dtype not in kinds:
                found, listed = f"{tensor.dtype} {tuple(tensor.shape)}", ", ".join(map(str, kinds))
                raise _corrupt(where, name, f"{part} is {found}; it must have one dimension and be of {listed}")
        tensors[name] = _dense(where, name, crow.long(), col.long(), values, like.shape)
    return tensors


def _decoded(where: str, name: str, codes: Tensor, book: Tensor) -> Tensor:
    if book.ndim != 1 or book.dtype not in _FLOATS:
        raise _corrupt(where, name, f"codebook is {book.dtype} {tuple(book.shape)}; it must be floats of one dimension")
    if codes.dtype != torch.uint8 or (codes >= len(book)).any():
        raise _corrupt(where, name, f"values must be uint8, each less than {len(book)}, the length of the codebook")
    return book[codes.long()]


def _dense(where: str, name: str, crow: Tensor, col: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    rows, columns, count = shape[0], math.prod(shape[1:]), len(values)
    if len(crow) != rows + 1 or crow[0] != 0 or crow[-1] != count or (crow[1:] < crow[:-1]).any():
        raise _corrupt(where, name, f"crow must be {rows + 1} integers rising from 0 to {count}, the number of values")
    if len(col) != count or (col < 0).any() or (col >= columns).any():
        raise _corrupt(where, name, f"col must be {count} integers from 0 to {columns - 1}, one per value")
    place = torch.arange(rows).repeat_interleave(crow.diff()) * columns + col
    if (place[1:] <= place[:-1]).any():
        raise _corrupt(where, name, "col must rise within a row, without repetition")
    tensor = values.new_zeros(rows * columns)
    tensor[place] = values
    return tensor.reshape(shape)


def _corrupt(where: str, name: str, why: str) -> InputError:
    return InputError(f"{where} is corrupt: {name}: {why}", name=where, value=name)
