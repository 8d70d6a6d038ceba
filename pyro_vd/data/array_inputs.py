"""Inputs and labels in arrays of any type: pixels, tokens or other numbers, of which no type loses anything on the way in."""

from __future__ import annotations

import numpy as np

from pyro_vd._core.errors import InputError
from pyro_vd.data.single_precision import merged_column


def is_pixels(x: np.ndarray) -> bool:
    """Whether an array holds 8-bit pixels."""
    return x.dtype == np.uint8


def is_integers(x: np.ndarray) -> bool:
    """Whether an array holds integers that stay integers, such as tokens, and no 8-bit pixels."""
    return x.dtype.kind in "iu" and not is_pixels(x)


def integers_in(name: str, values: np.ndarray) -> np.ndarray:
    """Return integers as int64; ``name`` is what they are called in an error.

    Raises:
        InputError: one is too large.
    """
    if values.dtype.itemsize == 8 and values.size and (largest := int(values.max())) >= 2**63:
        raise InputError(
            f"{name}: {largest} is too large; integers must be below 2**63", name=name, value=largest, allowed="below 2**63"
        )
    return values.astype(np.int64)


def inputs_in(name: str, x: np.ndarray) -> np.ndarray:
    """Return inputs: pixels in [0, 1] as float32, other integers as int64, other numbers as float32.

    Raises:
        InputError: an integer is too large, or float32 cannot tell apart the numbers that stand at one place of all examples.
    """
    if is_integers(x):
        return integers_in(name, x)
    if x.ndim > 1 and x.size and np.isfinite(x).all() and (place := merged_column(x.reshape(len(x), -1))) is not None:
        column = x.reshape(len(x), -1)[:, place]
        raise InputError(
            f"{name}: number {place + 1} of each example is near {column[0]:.12g}, and differs by about {column.std():.3g}, "
            "which the 7 digits of float32 cannot tell apart; subtract a number from all of them",
            name=name,
            value=float(column[0]),
            allowed="numbers whose differences show in 7 digits",
        )
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, and are then refused
        return np.asarray(np.asarray(x, np.float32) / np.float32(255 if is_pixels(x) else 1))
