"""Digests at the end of files of other formats, in a place that other readers of the format ignore, such as a comment."""

from __future__ import annotations

import io
import struct
import zipfile
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


def seal_zip(content: bytes) -> bytes:
    """Return a zip file, as torch writes it, with its digest as the archive's comment."""
    end = content[-_END_OF_ZIP:]
    assert end.startswith(b"PK\x05\x06"), "a zip file without a comment"
    return _seal(content[:-2] + struct.pack("<H", len(_TEXT_LEAD) + _HEX), _TEXT_LEAD)


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
    return _seal(content, _ONNX_LEAD)


def check_onnx_seal(where: str, what: str, content: bytes) -> None:
    """Refuse a file without the digest of :func:`seal_onnx`, or with another one.

    Raises:
        InputError: naming the file.
    """
    _check(where, what, content, _ONNX_LEAD)


def seal_end(content: bytes) -> bytes:
    """Return a file with its digest behind the end, for formats that store their own length, such as HDF5."""
    return _seal(content, _TEXT_LEAD)


def has_seal(content: bytes) -> bool:
    """Whether a file has a digest of :func:`seal_end`, for :func:`check_end` to check."""
    return content[-len(_TEXT_LEAD) - _HEX :].startswith(_TEXT_LEAD)


def check_end(where: str, what: str, content: bytes) -> None:
    """Refuse a file without the digest of :func:`seal_end`, or with another one.

    Raises:
        InputError: naming the file.
    """
    _check(where, what, content, _TEXT_LEAD)


def _seal(content: bytes, lead: bytes) -> bytes:
    return content + lead + sha256(content).hexdigest().encode()


def _check(where: str, what: str, content: bytes, lead: bytes) -> None:
    body, end = content[: -len(lead) - _HEX], content[-len(lead) - _HEX :]
    if not end.startswith(lead):
        message = f"{where} is truncated or not {what} that pyro_vd wrote: it does not end with a digest of its content"
        raise InputError(message, name=where, allowed=what)
    if (digest := lead + sha256(body).hexdigest().encode()) != end:
        message = f"{where} is corrupt: its digest is not that of its content"
        raise InputError(message, name=where, value=end[-_HEX:], allowed=f"the digest {digest[-_HEX:].decode()}")
