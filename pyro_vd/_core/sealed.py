"""Files of other formats with a digest of all their bytes at their end, where other readers of the format see a comment."""

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

# A field more of ONNX's ModelProto, metadata_props (14): a message of two texts, key (1) and value (2). Protocol buffers may be
# written one after the other; lists are then joined.
_ENTRY = bytes([0x0A, len(_NAME)]) + _NAME + bytes([0x12, _HEX])
_ONNX_LEAD = bytes([0x72, len(_ENTRY) + _HEX]) + _ENTRY


def seal_zip(content: bytes) -> bytes:
    """A zip file, as torch writes, with its digest as the archive's comment."""
    end = content[-_END_OF_ZIP:]
    assert end.startswith(b"PK\x05\x06"), "a zip file without a comment"
    return _seal(content[:-2] + struct.pack("<H", len(_TEXT_LEAD) + _HEX), _TEXT_LEAD)


def check_zip(where: str, what: str, content: bytes) -> None:
    """Refuse what :func:`seal_zip` did not write, or what was changed since; or a member that would be larger than the file.

    Raises:
        InputError: saying which.
    """
    _check(where, what, content, _TEXT_LEAD)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(content):
            raise InputError(f"{where} is corrupt: its members are larger than the file")


def seal_onnx(content: bytes) -> bytes:
    """An ONNX file with its digest among the model's metadata."""
    return _seal(content, _ONNX_LEAD)


def check_onnx_seal(where: str, what: str, content: bytes) -> None:
    """Refuse what :func:`seal_onnx` did not write, or what was changed since.

    Raises:
        InputError: saying which.
    """
    _check(where, what, content, _ONNX_LEAD)


def seal_end(content: bytes) -> bytes:
    """A file of a format that ends where it says, as HDF5, with its digest behind that."""
    return _seal(content, _TEXT_LEAD)


def has_seal(content: bytes) -> bool:
    """Whether it is from :func:`seal_end`, to be looked at with :func:`check_end`."""
    return content[-len(_TEXT_LEAD) - _HEX :].startswith(_TEXT_LEAD)


def check_end(where: str, what: str, content: bytes) -> None:
    """Refuse what :func:`seal_end` did not write, or what was changed since.

    Raises:
        InputError: saying which.
    """
    _check(where, what, content, _TEXT_LEAD)


def _seal(content: bytes, lead: bytes) -> bytes:
    return content + lead + sha256(content).hexdigest().encode()


def _check(where: str, what: str, content: bytes, lead: bytes) -> None:
    body, end = content[: -len(lead) - _HEX], content[-len(lead) - _HEX :]
    if not end.startswith(lead):
        raise InputError(f"{where} is truncated or not {what} that pyro_vd wrote: it does not end with a digest of its content")
    if end != lead + sha256(body).hexdigest().encode():
        raise InputError(f"{where} is corrupt: its digest is not that of its content")
