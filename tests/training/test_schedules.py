"""Schedules of the KL's weight and of the learning rate: their values, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pyro_vd import InputError, KLWeight
from pyro_vd.training import LRSchedule


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (KLWeight(), {0: 1, 7.5: 1}),
        (KLWeight(0.3), {0: 0.3, 100: 0.3}),
        (KLWeight(0), {0: 0, 9: 0}),
        (KLWeight(2, 5, 15), {0: 0, 5: 0, 10: 1, 12.5: 1.5, 15: 2, 99: 2}),
        (KLWeight(1, 3, 3), {2.9: 0, 3: 1}),
    ],
)
def test_kl_weight(schedule: KLWeight, expected: dict[float, float]) -> None:
    assert {epoch: schedule.at(epoch) for epoch in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (LRSchedule(), {0: 1, 19.9: 1}),
        (LRSchedule("linear"), {0: 1, 5: 0.75, 19: 0.05}),
        (LRSchedule("linear", after=0.5), {0: 1, 10: 1, 15: 0.5, 19: 0.1}),
        (LRSchedule("steps", steps={5: 0.1, 10: 0.5}), {4.9: 1, 5: 0.1, 9: 0.1, 10: 0.05, 19: 0.05}),
        (LRSchedule("constant"), {0: 1, 19: 1}),
    ],
)
def test_lr_schedule(schedule: LRSchedule, expected: dict[float, float]) -> None:
    assert {epoch: schedule.at(epoch, 20) for epoch in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "arguments", "quoted"),
    [
        (KLWeight, {"value": -1}, "-1"),
        (KLWeight, {"value": math.inf}, "inf"),
        (KLWeight, {"value": math.nan}, "nan"),
        (KLWeight, {"start": -1, "end": 2}, r"start \(=-1\)"),
        (KLWeight, {"start": 3, "end": 2}, r"end \(=2\) must be at least start \(=3\)"),
        (KLWeight, {"start": math.nan, "end": 2}, r"start \(=nan\)"),
        (KLWeight, {"start": 1, "end": math.inf}, r"end \(=inf\)"),
        (KLWeight, {"value": 1e300}, r"value \(=1e\+300\)"),
        (LRSchedule, {"kind": "steps", "steps": [5, 0.5]}, r"steps \(=\[5, 0.5\]\)"),
        (LRSchedule, {"kind": "steps", "steps": {5: 1e300}}, r"\(=1e\+300\)"),
        (LRSchedule, {"kind": "cosine"}, "'cosine'"),
        (LRSchedule, {"kind": "linear", "after": 1}, r"\(=1\)"),
        (LRSchedule, {"kind": "linear", "after": -0.1}, r"\(=-0.1\)"),
        (LRSchedule, {"kind": "linear", "after": math.nan}, r"\(=nan\)"),
        (LRSchedule, {"kind": "steps", "steps": {-1: 0.5}}, r"\(=-1\)"),
        (LRSchedule, {"kind": "steps", "steps": {"5": 0.5}}, r"\(='5'\)"),
        (LRSchedule, {"kind": "steps", "steps": {5: 0}}, r"\(=0\)"),
        (LRSchedule, {"kind": "steps", "steps": {5: math.nan}}, r"\(=nan\)"),
        (LRSchedule, {"kind": "steps"}, "which needs them"),
        (LRSchedule, {"kind": "linear", "steps": {5: 0.5}}, "steps={5: 0.5}"),
        (LRSchedule, {"kind": "constant", "after": 0.5}, "after=0.5"),
    ],
)
def test_refused(kind: type, arguments: dict[str, Any], quoted: str) -> None:
    with pytest.raises(InputError, match=quoted):
        kind(**arguments)
