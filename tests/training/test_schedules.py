"""Schedules of the KL's weight and of the learning rate: their values, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
from support import refuses

from pyro_vd import KLWeight
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
    ("kind", "arguments", "name", "value", "mentioned"),
    [
        (KLWeight, {"value": -1}, "value", -1, ""),
        (KLWeight, {"value": math.inf}, "value", math.inf, ""),
        (KLWeight, {"value": math.nan}, "value", math.nan, ""),
        (KLWeight, {"start": -1, "end": 2}, "start", -1, ""),
        (KLWeight, {"start": 3, "end": 2}, "end", 2, "start (=3)"),
        (KLWeight, {"start": math.nan, "end": 2}, "start", math.nan, ""),
        (KLWeight, {"start": 1, "end": math.inf}, "end", math.inf, ""),
        (KLWeight, {"value": 1e300}, "value", 1e300, ""),
        (LRSchedule, {"kind": "steps", "steps": [5, 0.5]}, "steps", [5, 0.5], ""),
        (LRSchedule, {"kind": "steps", "steps": {5: 1e300}}, "steps, a factor", 1e300, ""),
        (LRSchedule, {"kind": "cosine"}, "kind", "cosine", "linear"),
        (LRSchedule, {"kind": "linear", "after": 1}, "after", 1, ""),
        (LRSchedule, {"kind": "linear", "after": -0.1}, "after", -0.1, ""),
        (LRSchedule, {"kind": "linear", "after": math.nan}, "after", math.nan, ""),
        (LRSchedule, {"kind": "steps", "steps": {-1: 0.5}}, "steps, an epoch", -1, ""),
        (LRSchedule, {"kind": "steps", "steps": {"5": 0.5}}, "steps, an epoch", "5", ""),
        (LRSchedule, {"kind": "steps", "steps": {5: 0}}, "steps, a factor", 0, ""),
        (LRSchedule, {"kind": "steps", "steps": {5: math.nan}}, "steps, a factor", math.nan, ""),
        (LRSchedule, {"kind": "steps"}, "kind", "steps", "steps={}"),
        (LRSchedule, {"kind": "linear", "steps": {5: 0.5}}, "kind", "linear", "steps={5: 0.5}"),
        (LRSchedule, {"kind": "constant", "after": 0.5}, "kind", "constant", "after=0.5"),
    ],
)
def test_refused(kind: type, arguments: dict[str, Any], name: object, value: object, mentioned: str) -> None:
    with refuses(name, value, mentioned):
        kind(**arguments)
