"""A digest of the numbers in a result, whatever they are called."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

NOT_COMPARED = ("second", "byte", "perplexity", "macro_f1", "mean_iou")
"""Keys and fields with these in their names: times; sizes of files, whose headers hold names and text; and measures of the same
predictions as others that are compared."""


def digest(value: Any) -> str:
    """Twelve hexadecimal digits of SHA-256 over the numbers in a result, whatever they are called.

    Of a mapping, and of all that is nested in it, the values count, not their names or order; so of a dataclass and of the
    parameters and buffers of a module. Of a sequence the order counts too. Numbers count as float64, arrays by type, shape and
    bytes. Text, booleans and None do not count.

    Raises:
        TypeError: the result holds something else.
        ValueError: the result holds no number.
    """
    if not (parts := _parts(value)):
        raise ValueError("a result without a number in it shows nothing")
    return _hash(*sorted(parts)).hex()[:12]


def _parts(value: Any) -> list[bytes]:
    """Hashes of the numbers, arrays and sequences of a value."""
    match value:
        case None | bool() | str():
            return []
        case int() | float():
            return [_hash(b"number", struct.pack("<d", value))]
        case Tensor() | np.ndarray() | np.generic():
            array = np.ascontiguousarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
            is_text = array.dtype.kind not in "biuf"
            return [] if is_text else [_hash(f"{array.dtype.str} {array.shape}".encode(), array.tobytes())]
        case list() | tuple():
            content = [parts for entry in value if (parts := _parts(entry))]
            return [_hash(b"sequence", *(_hash(*sorted(parts)) for parts in content))] if content else []
        case Mapping():
            compared = [entry for key, entry in value.items() if not any(word in str(key) for word in NOT_COMPARED)]
            return [part for entry in compared for part in _parts(entry)]
        case nn.Module():
            return _parts(value.state_dict())
        case _ if is_dataclass(value):
            return _parts({field.name: getattr(value, field.name) for field in fields(value)})
    raise TypeError(f"a {type(value).__name__} in a result; there must be numbers, arrays, modules and collections of them")


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(struct.pack("<q", len(part)) + part for part in parts)).digest()
