"""The threshold on log α: a number, or the result of a choice on validation data."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyro_vd._core.arguments import plain_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.shown import Row, Shown, as_plain, cell

DEFAULT_THRESHOLD = 3.0
"""log α = 3 is a Bernoulli dropout rate of about 0.95 (Molchanov 2017, section 5.1)."""


@dataclass(frozen=True)
class ThresholdTrial:
    """One candidate threshold, with the validation error and the size of the network that it leaves."""

    threshold: float
    """The threshold on log α."""
    error: float
    """The validation error: a share in [0, 1] for classes, the root mean square error for numbers."""
    compression: float
    """|W| / |W kept|."""
    nonzero_parameters: int
    """See :class:`~pyro_vd.evaluation.deployed.StoredSize`; the network is not compacted."""
    sparse_bytes: int
    """See :class:`~pyro_vd.evaluation.deployed.StoredSize`; the network is not compacted."""


@dataclass(frozen=True)
class ThresholdChoice(Shown):
    """The result of :func:`~pyro_vd.choose_threshold`."""

    threshold: float
    """The chosen threshold on log α."""
    unpruned_error: float
    """The validation error without pruning, in the unit of :attr:`ThresholdTrial.error`."""
    trials: tuple[ThresholdTrial, ...]
    """All candidates that were tried, the lowest threshold first."""

    def __repr__(self) -> str:
        return f"ThresholdChoice({'; '.join(self._notes())}; {len(self.trials)} trials)"

    def _notes(self) -> Sequence[str]:
        of_chosen = [trial for trial in self.trials if trial.threshold == self.threshold]
        found = ", ".join(f"{name} {cell(value)}" for trial in of_chosen for name, value in as_plain(trial).items())
        return [found or f"threshold {cell(self.threshold)}", f"error without pruning {cell(self.unpruned_error)}"]

    def _rows(self) -> Sequence[Row]:
        return [as_plain(trial) for trial in self.trials]


Threshold = float | ThresholdChoice
"""The argument of every function with a threshold: a number, or the result of :func:`~pyro_vd.choose_threshold`."""


def highest_threshold(train_threshold: float | None) -> float:
    """Return the highest threshold to prune by: that of the training, which held means with a larger log α at zero.

    Args:
        train_threshold: see :attr:`~pyro_vd.guides.WeightGuide.train_threshold`; with None, no threshold is too high.
    """
    return math.inf if train_threshold is None else train_threshold


def check_threshold(threshold: Any, name: str = "threshold") -> float:
    """Return a threshold as a number; it may be +∞, which prunes only weights of infinite log α, or −∞, which prunes all.

    Args:
        name: what an error calls the threshold.
        threshold: a number or a :class:`ThresholdChoice`.

    Raises:
        InputError: ``threshold`` is neither, or NaN.
    """
    value = plain_number(threshold.threshold if isinstance(threshold, ThresholdChoice) else threshold)
    if value is None or not (abs(value) <= sys.float_info.max or abs(value) == math.inf):
        allowed = "a number or the result of choose_threshold; weights with log α at or above it are pruned"
        raise InputError(name=name, value=threshold, allowed=allowed)
    return float(value)


def check_thresholds(name: str, values: Any) -> list[float]:
    """Return a list or one-dimensional array of thresholds as numbers.

    Args:
        name: what an error calls the list.
        values: the list.

    Raises:
        InputError: ``values`` is not a list or one-dimensional array, or an item is not a threshold.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise InputError(name=name, value=values, allowed="a list of thresholds")
    return [check_threshold(value, name) for value in values]
