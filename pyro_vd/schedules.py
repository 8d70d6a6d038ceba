"""Schedules over a training run: the weight of the KL and the learning rate, as functions of the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pyro_vd.checks import check_number
from pyro_vd.errors import InputError


@dataclass(frozen=True)
class KLWeight:
    """β over the epochs: 0 until epoch ``start``, then linear, ``value`` from epoch ``end`` on.

    The defaults give a constant β = 1. A warm-up keeps the KL from pruning weights before they have learnt anything
    (Molchanov 2017, section 4.3; Sønderby 2016, arXiv 1602.02282).

    Raises:
        InputError: a negative value or epoch, or ``end`` before ``start``.
    """

    value: float = 1.0
    """β at the end of the warm-up, ≥ 0."""
    start: float = 0.0
    """Epoch at which β leaves 0."""
    end: float = 0.0
    """Epoch from which β is ``value``; equal to ``start`` for no warm-up."""

    def __post_init__(self) -> None:
        if not 0 <= self.value < float("inf"):
            raise InputError(f"KL weight value (={self.value!r}) must be a finite number, 0 or more")
        if not 0 <= self.start <= self.end < float("inf"):
            raise InputError(f"KL warm-up from epoch {self.start!r} to {self.end!r}: 0 <= start <= end is needed")

    def at(self, epoch: float) -> float:
        """β at a point of the run, ``epoch`` counted from 0, fractions allowed."""
        if epoch >= self.end:
            return self.value
        if epoch <= self.start:
            return 0.0
        return self.value * (epoch - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class LRSchedule:
    """Factor on the learning rate over the epochs.

    Raises:
        InputError: an unknown kind, a fraction outside [0, 1), a step factor that is not positive.
    """

    kind: Literal["constant", "linear", "steps"] = "constant"
    """``constant``; ``linear``: 1 until the fraction ``after`` of the run, then linear to 0; ``steps``: see ``steps``."""
    after: float = 0.0
    """For ``linear``: share of the run, in [0, 1), before the decay begins."""
    steps: Mapping[int, float] = field(default_factory=dict)
    """For ``steps``: epoch → factor that multiplies the rate from that epoch on."""

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "linear", "steps"):
            raise InputError(f"learning-rate schedule kind (={self.kind!r}) must be 'constant', 'linear' or 'steps'")
        if not 0 <= self.after < 1:
            raise InputError(f"learning-rate schedule after (={self.after!r}) must be a share of the run in [0, 1)")
        if (self.after and self.kind != "linear") or bool(self.steps) != (self.kind == "steps"):
            raise InputError(
                f"learning-rate schedule kind {self.kind!r} with after={self.after!r} and steps={dict(self.steps)!r}: "
                "after belongs to 'linear', steps to 'steps', which needs them"
            )
        for epoch, factor in self.steps.items():
            check_number("learning-rate step's epoch", epoch, low=0)
            check_number("learning-rate step's factor", factor, low=0, low_open=True)

    def at(self, epoch: float, epochs: int) -> float:
        """The factor at a point of a run of ``epochs`` epochs."""
        if self.kind == "linear":
            return min(1.0, (1 - epoch / epochs) / (1 - self.after))
        factor = 1.0
        for boundary, multiplier in self.steps.items() if self.kind == "steps" else ():
            factor *= multiplier if epoch >= boundary else 1.0
        return factor
