"""Schedules of a training: the weight of the KL and the learning rate as functions of the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pyro_vd._core.arguments import HIGHEST_KL_WEIGHT, check_choice, check_number, plain_number, take
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted

HIGHEST_FACTOR = 1e12
HIGHEST_COMPRESSION = 1e9
RAMP = 0.8
"""The share of a training in which the compression grows; the rest is for the weights that are left."""


@dataclass(frozen=True)
class KLWeight:
    """β over the epochs: 0 until epoch ``start``, ``value`` from epoch ``end`` on, and linear in between.

    The default is a constant β = 1. A warm-up keeps the KL from pruning weights before they have learnt anything
    (Molchanov 2017, section 4.3; Sønderby 2016, arXiv 1602.02282).

    With a ``target`` nobody needs to know β: it is 0 until ``start``, and then found while the network is trained, so that the
    compression grows from 1 to the target, which it reaches by ``end``. See :class:`~pyro_vd.training.kl_control.KLControl`.

    Raises:
        InputError: not a number, a number out of range, ``end`` before ``start``, or ``value`` beside ``target``.

    Examples:
        >>> from pyro_vd import KLWeight
        >>> warm_up = KLWeight(value=1.0, end=30)
        >>> warm_up.at(0), warm_up.at(15), warm_up.at(60)
        (0.0, 0.5, 1.0)
    """

    value: float = 1.0
    """β at the end of the warm-up, in [0, 10¹²]."""
    start: float = 0.0
    """Epoch at which β starts to grow from 0."""
    end: float = 0.0
    """Epoch from which β is ``value``; without a warm-up it is equal to ``start``. With a target, the epoch by which it is
    reached; where it is left out, or equal to ``start``, four fifths of the epochs that follow ``start`` are taken."""
    target: float | None = None
    """The compression |W| / |W left| to reach at the threshold of the training's rule, ≥ 1; ``value`` is then left out. With a
    guide of units, |W left| is what ``compact`` leaves. None for β as the other numbers say."""

    def __post_init__(self) -> None:
        take(self, "value", check_number("value", self.value, low=0, high=HIGHEST_KL_WEIGHT))
        take(self, "start", check_number("start", self.start, low=0))
        take(self, "end", check_number("end", self.end, low=0))
        if self.target is not None and self.end == 0:  # not given
            take(self, "end", self.start)
        if self.end < self.start:
            allowed = f"at least start (={self.start!r}): epochs between which β grows"
            if self.end == 0:  # not given
                allowed += f"; a warm-up of {self.start:g} epochs is KLWeight({self.value:g}, end={self.start:g})"
            raise InputError(name="end", value=self.end, allowed=allowed)
        if self.target is None:
            return
        take(self, "target", check_number("target", self.target, low=1, high=HIGHEST_COMPRESSION))
        if self.value != 1.0:
            allowed = "left out, or 1, where a target is given, for which β is found"
            raise InputError(name="value", value=self.value, allowed=allowed)

    def check_time(self, epochs: int) -> None:
        """Refuse a target that a training of ``epochs`` would not reach, because it begins or ends too late.

        Raises:
            InputError: a target with ``start`` at or after the last epoch, or ``end`` after it.
        """
        if self.target is None:
            return
        if self.start >= epochs:
            raise InputError(name="kl_weight.start", value=self.start, allowed=f"below epochs (={epochs}), with a target")
        if self.end > epochs:
            raise InputError(name="kl_weight.end", value=self.end, allowed=f"at most epochs (={epochs}), with a target")

    def settled(self, epochs: int) -> float:
        """The epoch, in a training of ``epochs``, from which β has its full weight, or the compression is at its target."""
        if self.target is not None and self.end == self.start:
            return self.start + RAMP * max(0.0, epochs - self.start)
        return self.end

    def at(self, epoch: float) -> float:
        """β at a time in epochs, which counts from 0 and may be a fraction; there must be no target."""
        if epoch >= self.end:
            return self.value
        if epoch <= self.start:
            return 0.0
        return self.value * (epoch - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class LRSchedule:
    """Factor on the learning rate over the epochs.

    Raises:
        InputError: an unknown kind, ``after`` outside [0, 1), or a factor in ``steps`` outside (0, 10¹²].
    """

    kind: Literal["constant", "linear", "steps"] = "constant"
    """``constant``: 1; ``linear``: 1 for the share ``after`` of the training, then linear to 0; ``steps``: see ``steps``."""
    after: float = 0.0
    """For ``linear``: share of the training, in [0, 1), before the decay begins."""
    steps: Mapping[int, float] = field(default_factory=dict)
    """For ``steps``: mapping from an epoch to the factor that multiplies the rate from that epoch on."""

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("constant", "linear", "steps"))
        take(self, "after", check_number("after", self.after, low=0))
        if self.after >= 1:
            raise InputError(name="after", value=self.after, allowed="a share of the training in [0, 1)")
        if not isinstance(self.steps, Mapping):
            raise InputError(name="steps", value=self.steps, allowed="a mapping, epoch to factor, such as {10: 0.1}")
        if (self.after and self.kind != "linear") or bool(self.steps) != (self.kind == "steps"):
            raise InputError(
                f"kind (={self.kind!r}) with after={quoted(self.after)} and steps={quoted(dict(self.steps))}: after belongs to "
                "'linear', steps to 'steps', which needs them",
                name="kind",
                value=self.kind,
            )
        steps = {
            check_number("steps, an epoch", epoch, low=0): check_number(
                "steps, a factor", factor, low=0, low_open=True, high=HIGHEST_FACTOR
            )
            for epoch, factor in self.steps.items()
        }
        take(self, "steps", steps)

    def at(self, epoch: float, epochs: int) -> float:
        """The factor at a time in epochs, in a training of ``epochs`` epochs."""
        if self.kind == "linear":
            return min(1.0, (1 - epoch / epochs) / (1 - self.after))
        factor = 1.0
        for boundary, multiplier in self.steps.items() if self.kind == "steps" else ():
            factor *= multiplier if epoch >= boundary else 1.0
        return factor


def check_schedules(lr_schedule: Any, kl_weight: Any) -> tuple[LRSchedule, KLWeight]:
    """The two schedules of a training; None stands for a constant rate, a number for a constant β.

    Raises:
        InputError: anything else.
    """
    lr_schedule = LRSchedule() if lr_schedule is None else lr_schedule
    if not isinstance(lr_schedule, LRSchedule):
        raise InputError(name="lr_schedule", value=lr_schedule, allowed="an LRSchedule or None")
    if isinstance(kl_weight, KLWeight):
        return lr_schedule, kl_weight
    if plain_number(kl_weight) is None:
        raise InputError(
            name="kl_weight",
            value=kl_weight,
            allowed="a number or a KLWeight, such as KLWeight(0.3, end=30) or KLWeight(target=50)",
        )
    return lr_schedule, KLWeight(check_number("kl_weight", kl_weight, low=0, high=HIGHEST_KL_WEIGHT))
