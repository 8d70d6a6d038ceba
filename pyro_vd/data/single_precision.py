"""Whether numbers can be told apart as float32, the type of inputs."""

from __future__ import annotations

import numpy as np

_ROUNDING = 1e-3
"""The largest error of a number as float32 that is allowed, relative to the standard deviation of its column."""


def merged_column(values: np.ndarray) -> int | None:
    """Return the first column whose numbers float32 cannot tell apart; None where there is none.

    Args:
        values: finite numbers ``(n, columns)``.
    """
    if values.dtype.kind != "f" or values.dtype.itemsize <= 4:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 is refused elsewhere
        single = values.astype(np.float32)
        error, deviation = np.abs(values - single).max(0), values.std(0)
        differ, differ_still = np.ptp(values, axis=0) > 0, np.ptp(single, axis=0) > 0
        merged = np.isfinite(error) & differ & ((error > _ROUNDING * deviation) | ~differ_still)
    return int(merged.argmax()) if merged.any() else None
