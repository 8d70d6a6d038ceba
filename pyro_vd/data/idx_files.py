"""Files in idx, the format of MNIST: a header with type and shape, then the numbers."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import read_bytes

_BYTES = 0x08
"""The code of unsigned bytes, the only type of number in MNIST and Fashion-MNIST."""


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an array of uint8 with ``ndim`` dimensions.

    Raises:
        InputError: the file is missing, or its header does not fit its content.
    """
    content = read_bytes(path, "an idx file")
    head = 4 + 4 * ndim
    if len(content) >= head and struct.unpack(">HBB", content[:4]) == (0, _BYTES, ndim):
        shape = struct.unpack(f">{ndim}I", content[4:head])
        if math.prod(shape) == len(content) - head:
            return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
    allowed = f"an idx file of bytes, of {ndim} dimensions"
    raise InputError(f"{path} is truncated or of another format; it must be {allowed}", name=str(path), allowed=allowed)
