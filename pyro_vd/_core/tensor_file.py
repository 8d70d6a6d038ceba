"""safetensors files of pyro_vd, with tensors, a description in JSON under a mark, and a checksum of both."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line, type_name
from pyro_vd._core.reading import MOST_HEADER, MOST_TEXT, check_size, plain_json, reading
from pyro_vd._core.storage import bytes_of, checksum, write_atomically

_WHAT = "a safetensors file"
_CHECKSUM = "crc32"
_UNCHECKED = ("float8", "float4")
"""Types with so few bits that torch cannot detect NaN in all of them."""
_TYPES = ("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL")
"""The types in files, in the order in which safetensors writes them."""


def tensor_bytes(mark: str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a file; they are always the same for the same content.

    Args:
        mark: the mark of the kind of file.
        described: the description.
        tensors: the tensors by name.

    Raises:
        InputError: the description has more than a megabyte, or holds NaN, infinity or text that is not Unicode; or a tensor
            has less than 16 bits per number.
    """
    content = save(dict(tensors), _metadata(mark, described, tensors))
    check_size("the file", "a header", int.from_bytes(content[:8], "little"), MOST_HEADER)
    return content


def write_tensors(path: Path, mark: str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a file with the content of :func:`tensor_bytes` atomically, without a copy of it in memory or on disk.

    Raises:
        InputError: see :func:`tensor_bytes`.
        OSError: see :func:`~pyro_vd._core.storage.write_atomically`.
    """
    header = _header(_metadata(mark, described, tensors), tensors)
    numbers = (bytes_of(tensors[name]) for name in _in_order(tensors))
    write_atomically(path, itertools.chain([header], numbers))


def _metadata(mark: str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return one key, because safetensors writes several in an order that varies between processes."""
    try:
        "".join(tensors).encode()
        text = _json({**described, _CHECKSUM: _checksum(described, tensors)})
        check_size("the file", "a description", len(text), MOST_TEXT)
        plain_json(text)
    except InputError:
        raise
    except ValueError as error:
        message = f"the file could not be read again: its description, or a name in it, is no text of JSON: {one_line(error)}"
        raise InputError(message, name="the file", value=str(error), allowed="finite numbers, and names in Unicode") from error
    check_types("the file", tensors)
    return {mark: text}


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that do not share memory, as a file needs them: copies of those whose memory is met a second time."""
    met, found = set[int](), {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if memory in met or tensor.untyped_storage().nbytes() != tensor.nbytes else tensor
        met.add(memory)
    return found


def size_of(mark: str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """Return the number of bytes of :func:`tensor_bytes`, to within 16; the tensors need not have values."""
    metadata = {mark: _json({**described, _CHECKSUM: 2**32 - 1})}
    return len(_header(metadata, tensors)) + sum(tensor.numel() * tensor.itemsize for tensor in tensors.values())


def _header(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> bytes:
    """Return what is before the numbers in a file: the length of a text in JSON, and the text, filled up to 8 bytes."""
    content: dict[str, Any] = {"__metadata__": metadata}
    place = 0
    for name in _in_order(tensors):
        start, place = place, place + tensors[name].numel() * tensors[name].itemsize
        shape = list(tensors[name].shape)
        content[name] = {"dtype": _name(tensors[name].dtype), "shape": shape, "data_offsets": [start, place]}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    check_size("the file", "a header", len(text), MOST_HEADER)
    return len(text).to_bytes(8, "little") + text


def _in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names in the order in which safetensors itself writes tensors: by type, then by name."""
    names = {name: _name(tensor.dtype) for name, tensor in tensors.items()}
    if unknown := sorted(name for name, kind in names.items() if kind not in _TYPES):
        message = f"{unknown[0]} is of type {tensors[unknown[0]].dtype}, which a safetensors file cannot hold"
        raise InputError(message, name=unknown[0], value=tensors[unknown[0]].dtype, allowed=f"one of {', '.join(_TYPES)}")
    return sorted(tensors, key=lambda name: (_TYPES.index(names[name]), name))


def _name(dtype: torch.dtype) -> str:
    """Return the name of a type in safetensors files, such as ``F32``."""
    name = type_name(dtype)
    kind = name.rstrip("0123456789")
    return {"float": "F", "bfloat": "BF", "int": "I", "uint": "U", "complex": "C"}.get(kind, kind.upper()) + name[len(kind) :]


def read_tensors(path: Path, mark: str, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the description and the tensors of a file onto the CPU, without checking the checksum.

    Args:
        path: the file.
        mark: the mark of the kind of file.
        what: what the file should be, such as "a network saved by pyro_vd".

    Raises:
        InputError: the file is missing, broken, or of another kind; or its description is not a mapping.
    """
    if not path.is_file():
        message = f"file (={str(path)!r}) is not there; give the path of {what}"
        raise InputError(message, name=str(path), allowed=what)
    with reading(path, _WHAT), path.open("rb") as start:
        header = int.from_bytes(start.read(8), "little")
    if header > MOST_HEADER:  # as the first letters of a text say, or an ONNX file
        message = f"{path} is not {_WHAT} of pyro_vd: its header would have {header:,} bytes; an ONNX file is read by load_onnx"
        raise InputError(message, name=str(path), value=header, allowed=f"a header of at most {MOST_HEADER} bytes")
    with reading(path, _WHAT), _name_in_utf8(path) as place, safe_open(place, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if mark not in metadata:
        raise InputError(f"{path} is not {what}: its metadata lack {mark!r}", name=str(path), allowed=what)
    with reading(path, what):
        check_size(f"the description in {path}", "one", len(metadata[mark]), MOST_TEXT)
        described = plain_json(metadata[mark])
    if not isinstance(described, dict):
        raise InputError(f"{path} is corrupt: its description is not a mapping", name=str(path), value=described)
    check_types(f"{path} is corrupt", tensors)
    return described, tensors


@contextmanager
def _name_in_utf8(path: Path) -> Iterator[Path]:
    """Yield a path to the file in UTF-8, the only one that safetensors takes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield Path(f"/dev/fd/{file.fileno()}")
    else:
        yield path


def check_checksum(path: Path | str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse a file that has changed since it was written.

    Raises:
        InputError: the checksum is missing, or not that of the content.
    """
    if _CHECKSUM not in described:
        message = f"{path} lacks a checksum, as files of early versions of pyro_vd do; write it again"
        raise InputError(message, name=str(path), allowed="a file with a checksum")
    content = {key: value for key, value in described.items() if key != _CHECKSUM}
    if described[_CHECKSUM] != _checksum(content, tensors):
        message = f"{path} is corrupt: its checksum is not that of its content"
        raise InputError(message, name=str(path), value=described[_CHECKSUM], allowed="the checksum of its content")


def _checksum(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    value = zlib.crc32(_json(described).encode())
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = checksum([tensor], value)
    return value


def check_types(where: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors of less than 16 bits per floating-point number, for which torch lacks most operations.

    Args:
        where: what holds them, for messages.
        tensors: by name.

    Raises:
        InputError: naming the first of them.
    """
    for name, tensor in tensors.items():
        if any(kind in str(tensor.dtype) for kind in _UNCHECKED):
            message = f"{where}: {name} is {tensor.dtype} {tuple(tensor.shape)}; a number must have at least 16 bits"
            raise InputError(message, name=name, value=tensor.dtype, allowed="a type of at least 16 bits per number")


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))
