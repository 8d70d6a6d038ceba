"""The control of β by the compression: what is measured in a training, and what becomes of β."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, TypedDict

from pyro_vd._core.errors import InputError
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.networks.inputs import Inputs, rows
from pyro_vd.pruning.gauge import Gauge, gauge_of
from pyro_vd.pruning.rule import PruningRule

if TYPE_CHECKING:
    from pyro_vd.training.spec import TrainingSpec
    from pyro_vd.training.state import TrainingState

logger: logging.Logger = logging.getLogger(__name__)

_MEASUREMENTS = 400
"""The most measurements on the way to the target."""
_FIRST, _LOWEST, _HIGHEST = math.log(1e-3), math.log(1e-6), math.log(1e3)
"""log β at the start, and its limits."""
_GAIN, _GAIN_OF_SUM = 3.0, 16.0
"""By how much log β follows the error, and its sum over the time to the target, of which 1 is all."""
_TOLERANCE = 1.1
"""The factor by which a compression may miss the target without a message."""
_TOO_LITTLE, _TOO_MUCH = 4.0, 1.0
"""The distance in log α at which an error has its full size: what has been removed rarely comes back."""


class ControlState(TypedDict):
    """What a checkpoint holds of a :class:`KLControl`."""

    measured: float
    log_sum: float
    weight: float


class KLControl:
    """Finds β in a training, so that the compression at the threshold follows a ramp to a target.

    The wanted compression is target^(1 − (1 − t)³) at the time t, from 0 at the epoch ``start`` to 1 at the end of the ramp: it
    grows ever more slowly, so that nothing is carried beyond the target. The error is the distance in log α of the weights
    that are to go next from their threshold. Unlike the compression it says how far off they are before any of them is there,
    and its scale is that of every network. log β is a multiple of the error plus one of its integral, that is, a proportional
    and integral control of the multiplier of a constraint.

    Args:
        spec: with a target.
        guide: the guide.
        example: a batch of inputs.
    """

    def __init__(self, spec: TrainingSpec, guide: WeightGuide, example: Inputs) -> None:
        kl_weight = spec.kl_weight
        self._target: float = kl_weight.target or 1.0
        self._start = kl_weight.start
        self._length = max(kl_weight.settled(spec.epochs) - kl_weight.start, 1e-9)
        self._gauge: Gauge = gauge_of(guide, spec.rule, rows(example, slice(2)))
        self._measured, self._sum, self._weight = 0.0, _FIRST, 0.0

    def weight(self, state: TrainingState) -> float:
        """β for the next update; every process calls it, and has the same."""
        time = (state.now - self._start) / self._length
        if time >= 0 and (self._weight == 0 or time - self._measured >= 1 / _MEASUREMENTS):
            self._take(time, state.processes.of_first(lambda: self._shift(state, time)))
        return self._weight

    def _shift(self, state: TrainingState, time: float) -> float:
        state.write()
        return self._gauge.shift_for(self._target ** (1 - (1 - min(1.0, time)) ** 3))

    def _take(self, time: float, shift: float) -> None:
        error = min(1.0, max(-1.0, -shift / (_TOO_LITTLE if shift < 0 else _TOO_MUCH)))
        self._sum = _within(self._sum + _GAIN_OF_SUM * error * (time - self._measured))
        self._measured = time
        self._weight = math.exp(_within(self._sum + _GAIN * error))

    def report(self) -> None:
        """Say in a message if the compression that the guide stands at is not within a tenth of the target."""
        reached = self._gauge.compression()
        if reached * _TOLERANCE < self._target:
            logger.warning(
                "the compression is %.3g, less than the target, %g, by more than a tenth. Adam moves log α by about the "
                "learning rate per step at most: train for more epochs, with a larger lr, or start with a larger log_sigma2",
                *(reached, self._target),
            )
        elif reached > self._target * _TOLERANCE:
            logger.warning("the compression is %.3g, more than the target, %g, by more than a tenth", reached, self._target)

    def state_dict(self) -> ControlState:
        """Return what a checkpoint holds."""
        return ControlState(measured=self._measured, log_sum=self._sum, weight=self._weight)

    def load_state_dict(self, saved: ControlState) -> None:
        """Go on from what :meth:`state_dict` has returned.

        Raises:
            InputError: a number that it cannot have returned.
        """
        limits = {"measured": (0.0, math.inf), "log_sum": (_LOWEST, _HIGHEST), "weight": (0.0, math.exp(_HIGHEST) * 1.001)}
        for name, (low, high) in limits.items():
            value: Any = saved[name]  # type: ignore[literal-required]
            if not low <= value <= high:
                raise InputError(name=f"control.{name}", value=value, allowed=f"in [{low:g}, {high:g}]")
        self._measured, self._sum, self._weight = saved["measured"], saved["log_sum"], saved["weight"]


def _within(log_weight: float) -> float:
    return min(_HIGHEST, max(_LOWEST, log_weight))


def check_controllable(target: float | None, guide: str, learns_alpha: bool, rule: PruningRule, where: str = "") -> None:
    """Refuse a target that cannot be controlled.

    Args:
        target: the compression, or None.
        guide: what the guide is called in an error.
        learns_alpha: whether it learns α.
        rule: of the training.
        where: the key of the settings that have the target, with a dot, for errors.

    Raises:
        InputError: the guide learns no α; the rule limits numbers of inputs, or has a threshold that is not finite.
    """
    thresholds = (rule.threshold, *rule.thresholds.values())
    if target is None:
        return
    if not learns_alpha:
        why = f"with {guide}, which learns no α"
    elif rule.max_inputs is not None:
        why = f"where max_inputs (={rule.max_inputs}) says how many inputs are left"
    elif not all(map(math.isfinite, thresholds)):
        why = f"where a threshold of the rule (={thresholds}) is not finite"
    else:
        return
    raise InputError(name=f"{where}kl_weight.target", value=target, allowed=f"left out {why}")
