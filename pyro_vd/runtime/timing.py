"""Times of functions, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

_SECONDS, _ROUNDS = 0.05, (5, 200)
"""The approximate length of a measurement in seconds, and the limits of the number of its rounds."""

GAIN = 0.95
"""A sparse form is chosen if it takes less than this share of the dense form's time: measurements vary by a few percent."""


def shortest_seconds(*functions: Callable[[], object]) -> list[float]:
    """The shortest time of each function. They take turns; the shortest counts, as other load can only add to it."""
    times = [math.inf for _ in functions]
    started, (least, most) = time.perf_counter(), _ROUNDS
    for round_ in range(most):
        for index, function in enumerate(functions):
            start = time.perf_counter()
            function()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            times[index] = min(times[index], time.perf_counter() - start)
        if round_ >= least and time.perf_counter() - started > _SECONDS:
            break
    return times
