"""The threshold on log α: a number, or the one that was chosen on validation data."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyro_vd._core.arguments import plain_number
from pyro_vd._core.errors import InputError

DEFAULT_THRESHOLD = 3.0
"""log α = 3 is a Bernoulli dropout rate of about 0.95 (Molchanov 2017, section 5.1)."""


@dataclass(frozen=True)
class ThresholdTrial:
    """One candidate: its validation error, a share in [0, 1] or of numbers the RMSE, and how small the network is with it.

    ``compression`` is |W| / |W kept|; the other two are of :class:`~pyro_vd.evaluation.deployed.StoredSize`, not compacted.
    """

    threshold: float
    error: float
    compression: float
    nonzero_parameters: int
    sparse_bytes: int


@dataclass(frozen=True)
class ThresholdChoice:
    """The chosen threshold, the validation error without pruning, and every candidate tried, lowest first."""

    threshold: float
    unpruned_error: float
    trials: tuple[ThresholdTrial, ...]

    def __repr__(self) -> str:
        chosen = next((trial for trial in self.trials if trial.threshold == self.threshold), None)
        return f"ThresholdChoice({chosen}, of {len(self.trials)} trials; unpruned_error={self.unpruned_error})"


Threshold = float | ThresholdChoice
"""What every function with a ``threshold`` takes."""


def check_threshold(threshold: Any, name: str = "threshold") -> float:
    """The number; ±∞, which prunes nothing or everything, is one.

    Raises:
        InputError: neither a number nor a :class:`ThresholdChoice`.
    """
    value = plain_number(threshold.threshold if isinstance(threshold, ThresholdChoice) else threshold)
    if value is None or not (abs(value) <= sys.float_info.max or abs(value) == math.inf):
        raise InputError(
            name=name, value=threshold, allowed="a number, or what choose_threshold gives; log α at or above it is pruned"
        )
    return float(value)


def check_thresholds(name: str, values: Any) -> list[float]:
    """The numbers of a list or array.

    Raises:
        InputError: no list, or something else in it.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise InputError(name=name, value=values, allowed="a list of thresholds")
    return [check_threshold(value, name) for value in values]
