"""Plans come from files, which may be of strangers: what does not fit is refused, when it is read or when it is applied."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import refuses
from torch import nn

from pyro_vd.compaction import ShrinkPlan, apply_plan, shrink_plan


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2)
    with torch.no_grad():
        first.weight[[1, 3]] = 0
        first.bias[[1, 3]] = 0  # type: ignore[index]
    return nn.Sequential(first, nn.ReLU(), second, nn.Flatten(), nn.Linear(16, 3))


def tensor(name: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        next(each for each in tree["tensors"] if each["name"] == name).update(fields)

    return change


def module(kind: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tree: tree[kind].append(fields)


BROKEN: dict[str, Callable[[dict[str, Any]], None]] = {
    "no parts": tensor("2.weight", parts=0),
    "parts that do not divide the outputs": tensor("2.weight", parts=3),
    "parts of a vector": tensor("0.bias", parts=2),
    "parts that keep other numbers": tensor("2.weight", kept=[None, [0, 1, 2], None, None]),
    "factors for more dimensions": tensor("0.weight", factors=[[], [], [], [], [2.0]]),
    "a number of no module": module("attributes", module="other", name="groups", value=[1], is_tuple=False),
    "no number": module("attributes", module="2", name="groups", value=[], is_tuple=False),
    "a method as a number": module("attributes", module="2", name="forward", value=[1], is_tuple=False),
    "a class as a number": module("attributes", module="2", name="__class__", value=[1], is_tuple=False),
    "a tuple of another length": module("attributes", module="2", name="stride", value=[1], is_tuple=True),
    "an attention that is none": module("attentions", module="0", heads=1, width=1, value_width=1),
    "an attention that is not there": module("attentions", module="other", heads=1, width=1, value_width=1),
    "an embedding that is not there": module("embeddings", module="other", rows=[0]),
    "rows beyond all memory": module("embeddings", module="0", rows=[10**15]),
    "a normalisation that is none": module("norms", module="0", removed=[0.0], dim=-1, eps=None),
    "a normalisation that is not there": module("norms", module="other", removed=[0.0], dim=-1, eps=None),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN.keys())
def test_a_plan_that_does_not_fit_is_refused(net: nn.Module, change: Callable[[dict[str, Any]], None]) -> None:
    tree = shrink_plan(net, torch.ones(1, 3, 2, 2)).to_json()
    broken = copy.deepcopy(tree)
    change(broken)
    apply_plan(net, ShrinkPlan.from_json(tree))
    with refuses():
        apply_plan(net, ShrinkPlan.from_json(broken))
