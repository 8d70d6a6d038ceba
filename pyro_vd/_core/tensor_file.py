"""safetensors files of pyro_vd: tensors, a mark with a description in JSON, and a checksum over both."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import MOST_TEXT, check_size, plain_json, reading
from pyro_vd._core.storage import checksum

_WHAT = "a safetensors file"
_CHECKSUM = "crc32"
_UNCHECKED = ("float8", "float4")
"""Types of so few bits that torch cannot tell NaN from numbers in all of them."""


def tensor_bytes(mark: str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The file's bytes: always the same for the same content.

    Raises:
        InputError: a description of more than a megabyte, or tensors of 4 or 8 bits per number.
    """
    text = _json({**described, _CHECKSUM: _checksum(described, tensors)})
    check_size("the file", "a description", len(text), MOST_TEXT)
    _check_types("the file", tensors)
    return save(dict(tensors), {mark: text})  # one key: safetensors writes several in an order that changes between processes


def size_of(mark: str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """How many bytes :func:`tensor_bytes` gives, to within 16: values are not looked at, and there need be none."""
    content: dict[str, Any] = {"__metadata__": {mark: _json({**described, _CHECKSUM: 2**32 - 1})}}
    place = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        start, place = place, place + tensor.numel() * tensor.itemsize
        content[name] = {"dtype": _name(tensor.dtype), "shape": list(tensor.shape), "data_offsets": [start, place]}
    header = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + -(-len(header) // 8) * 8 + place


def _name(dtype: torch.dtype) -> str:
    """What a safetensors file calls a type: ``F32``."""
    name = str(dtype).removeprefix("torch.")
    kind = name.rstrip("0123456789")
    return {"float": "F", "bfloat": "BF", "int": "I", "uint": "U", "complex": "C"}.get(kind, kind.upper()) + name[len(kind) :]


def read_tensors(path: Path, mark: str, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's description and its tensors, as they are stored, on the CPU. Their checksum is still to be checked.

    Args:
        path: the file.
        mark: of its kind.
        what: what it should be, such as "a network saved by pyro_vd".

    Raises:
        InputError: it is missing, broken, of another kind, or its description is no mapping.
    """
    if not path.is_file():
        raise InputError(f"file (={str(path)!r}) is not there; {what} is wanted")
    with reading(path, _WHAT), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if mark not in metadata:
        raise InputError(f"{path} is not {what}: its metadata lack {mark!r}")
    with reading(path, what):
        check_size(f"the description in {path}", "one", len(metadata[mark]), MOST_TEXT)
        described = plain_json(metadata[mark])
    if not isinstance(described, dict):
        raise InputError(f"{path} is corrupt: its description is no mapping")
    _check_types(f"{path} is corrupt", tensors)
    return described, tensors


def check_checksum(path: Path | str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse what is not as it was written.

    Raises:
        InputError: the checksum is missing, or not that of the content.
    """
    if _CHECKSUM not in described:
        raise InputError(f"{path} lacks a checksum, as files of the first days of pyro_vd do; write it again")
    content = {key: value for key, value in described.items() if key != _CHECKSUM}
    if described[_CHECKSUM] != _checksum(content, tensors):
        raise InputError(f"{path} is corrupt: its checksum is not that of its content")


def _checksum(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    value = zlib.crc32(_json(described).encode())
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = checksum([tensor], value)
    return value


def _check_types(where: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if any(kind in str(tensor.dtype) for kind in _UNCHECKED):
            raise InputError(f"{where}: {name} is {tensor.dtype} {tuple(tensor.shape)}; 16 bits per number is the least")


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))
