"""Digests at the end of files of other formats, in a place that other readers of the format ignore, such as a comment."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable, Iterator
from hashlib import sha256

from pyro_vd._core.errors import InputError

_NAME = b"pyro_vd sha256"
_HEX = 64
_TEXT_LEAD = _NAME + b" "
_END_OF_ZIP = 22

# An additional field of ONNX's ModelProto, metadata_props (14), a message of two texts, key (1) and value (2). Protocol buffers
# may be concatenated; their lists are then joined.
_ENTRY = bytes([0x0A, len(_NAME)]) + _NAME + bytes([0x12, _HEX])
_ONNX_LEAD = bytes([0x72, len(_ENTRY) + _HEX]) + _ENTRY


def seal_zip(file: io.BytesIO) -> memoryview:
    """Add its digest to a zip file in memory, as torch writes it, as the archive's comment; return the content, not a copy."""
    end = file.seek(-_END_OF_ZIP, io.SEEK_END) + _END_OF_ZIP
    assert file.read(4) == b"PK\x05\x06", "a zip file without a comment"
    file.seek(end - 2)
    file.write(struct.pack("<H", len(_TEXT_LEAD) + _HEX))
    digest = sha256(file.getbuffer())
    file.write(_TEXT_LEAD + digest.hexdigest().encode())
    return file.getbuffer()


def check_zip(where: str, what: str, content: bytes) -> None:
    """Refuse a file without the digest of :func:`seal_zip` or with another one, or with members larger than the file.

    Raises:
        InputError: naming the file.
    """
    _check(where, what, content, _TEXT_LEAD)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(content):
            message = f"{where} is corrupt: its members are larger than the file"
            raise InputError(message, name=where, allowed=what)


def seal_onnx(content: bytes) -> bytes:
    """Return an ONNX file with its digest in the model's metadata."""
    return content + _ONNX_LEAD + sha256(content).hexdigest().encode()


def check_onnx_seal(where: str, what: str, content: bytes) -> None:
    """Refuse a file without the digest of :func:`seal_onnx`, or with another one.

    Raises:
        InputError: naming the file.
    """
    _check(where, what, content, _ONNX_LEAD)


def seal_end(parts: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the parts of a file, and its digest behind the end, for formats that store their own length, such as HDF5."""
    digest = sha256()
    for part in parts:
        digest.update(part)
        yield part
    yield _TEXT_LEAD + digest.hexdigest().encode()


def has_seal(content: bytes) -> bool:
    """Whether a file has a digest of :func:`seal_end`, for :func:`check_end` to check."""
    return content[-len(_TEXT_LEAD) - _HEX :].startswith(_TEXT_LEAD)


def check_end(where: str, what: str, content: bytes) -> None:
    """Refuse a file without the digest of :func:`seal_end`, or with another one.

    Raises:
        InputError: naming the file.
    """
    _check(where, what, content, _TEXT_LEAD)


def _check(where: str, what: str, content: bytes, lead: bytes) -> None:
    body, end = memoryview(content)[: -len(lead) - _HEX], content[-len(lead) - _HEX :]
    if not end.startswith(lead):
        message = f"{where} is truncated or not {what} that pyro_vd wrote: it does not end with a digest of its content"
        raise InputError(message, name=where, allowed=what)
    if (digest := lead + sha256(body).hexdigest().encode()) != end:
        message = f"{where} is corrupt: its digest is not that of its content"
        raise InputError(message, name=where, value=end[-_HEX:], allowed=f"the digest {digest[-_HEX:].decode()}")
