"""What a checkpoint knows a training by: equal in every process for what acts alike, another for what does not."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from support import ENVIRONMENT, python, refuses
from torch import Tensor, nn
from torchvision.transforms import v2

from pyro_vd import KLWeight, VariationalDropout, fit
from pyro_vd.data import RandomAffine
from pyro_vd.models import MLP
from pyro_vd.training import LRSchedule
from pyro_vd.training.identity import identity

STRENGTH = 0.1


def shaken(x: Tensor, strength: float = STRENGTH, names: frozenset[str] = frozenset("abcdefgh")) -> Tensor:
    return x + strength * len(names) * torch.randn_like(x)


def by_helper(x: Tensor) -> Tensor:
    return shaken(x) * STRENGTH


def scaling(factor: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: x * torch.as_tensor(factor).mean()


def scaling_by(generator: np.random.Generator) -> Callable[[Tensor], Tensor]:
    return lambda x: x * generator.random()


class Scale:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.factor

    def halve(self, x: Tensor) -> Tensor:
        return self(x) / 2


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.factor


@dataclass
class Fields:
    factor: float = 1.0
    more: dict[str, Any] = field(default_factory=lambda: {"set": set("abcdefgh"), "list": [1, (2, 3)]})

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.factor


class Stateful(nn.Module):
    def __init__(self, value: float, factor: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.factor = factor
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[value, 1.0], [2.0, 3.0]]))
            self.layer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def rotation(degrees: float) -> nn.Module:
    return v2.Compose([v2.RandomRotation([-degrees, degrees]), v2.ToDtype(torch.float32, scale=True)])


CASES: dict[str, Callable[[], list[Any]]] = {
    "function": lambda: [shaken, by_helper],
    "lambda": lambda: [lambda x: x + 1, lambda x: x + 2],
    "partial": lambda: [functools.partial(shaken, strength=value) for value in (0.1, 0.2)],
    "closure": lambda: [scaling(2.0), scaling(3.0)],
    "closure of an array": lambda: [scaling(np.arange(4.0)), scaling(np.array([0.0, 1.0, 3.0, 2.0]))],
    "closure of a tensor": lambda: [scaling(torch.tensor([1.0, 2.0])), scaling(torch.tensor([2.0, 1.0]))],
    "object": lambda: [Scale(1.0), Scale(2.0)],
    "slots": lambda: [Slotted(1.0), Slotted(2.0)],
    "bound method": lambda: [Scale(1.0).halve, Scale(2.0).halve, Scale(1.0).__call__],
    "dataclass": lambda: [Fields(), Fields(2.0), Fields(more={})],
    "module": lambda: [Stateful(0.0), Stateful(1.0), Stateful(0.0, 2.0), nn.Sequential(Stateful(0.0), nn.Dropout(0.1))],
    "transform": lambda: [rotation(8.0), rotation(9.0), v2.RandomChoice([rotation(8.0), v2.RandomHorizontalFlip(0.2)])],
    "affine": lambda: [RandomAffine(8), RandomAffine(9)],
    "seeded generator": lambda: [scaling_by(np.random.default_rng(seed)) for seed in (0, 1)],
    "schedules": lambda: [LRSchedule(), LRSchedule("linear"), KLWeight(), KLWeight(0.5), LRSchedule("steps", steps={3: 0.1})],
    "priors": lambda: [dist.Normal(0.0, 1.0), dist.Normal(torch.zeros(2), 2.0), dist.Laplace(0.0, 1.0)],
    "torch's own": lambda: [torch.relu, nn.functional.relu, torch.Tensor.abs, nn.ReLU()],
}


def written() -> dict[str, list[str]]:
    return {name: [identity("augment", value) for value in make()] for name, make in CASES.items()}


@pytest.mark.slow
def test_equal_in_a_new_process_and_different_for_what_acts_differently() -> None:
    here = written()
    for name, texts in here.items():
        assert len(set(texts)) == len(texts), name
        assert not any("0x" in text for text in texts), name
    assert written() == here
    code = "import json, test_identity; print(json.dumps(test_identity.written()))"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"  # the order of sets is another one
    done = python(code, cwd=Path(__file__).parent, env={**ENVIRONMENT, "PYTHONHASHSEED": seed})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == here


def test_code_tells_functions_of_one_name_apart() -> None:
    """As when a script is changed between the two halves of a training: the body, or a value of the module."""
    texts = []
    for body, value in (("x * K", 1), ("x * K", 2), ("x + K", 1)):
        space: dict[str, Any] = {"K": value, "__name__": "script"}
        exec(f"def change(x, p=1):\n    return {body}", space)
        texts.append(identity("augment", space["change"]))
    assert len(set(texts)) == 3


@pytest.mark.parametrize("kind", ["lock", "generator", "file"])
def test_what_has_no_identity_is_refused_where_a_checkpoint_is_asked_for(tmp_path: Path, kind: str) -> None:
    with Path(__file__).open() as file:
        held = {"lock": threading.Lock(), "generator": (x for x in ()), "file": file}[kind]

        def change(x: Tensor) -> Tensor:
            assert held is not None
            return x

        model = MLP((4, 3))
        options: dict[str, Any] = {"epochs": 1, "progress": False, "augment": change}
        data = torch.randn(9, 4), torch.arange(9) % 3
        fit(VariationalDropout(model), data, **options)
        with refuses("augment", change, "<function "):
            fit(VariationalDropout(model), data, **options, checkpoint=tmp_path / "c.pt")
        assert list(tmp_path.iterdir()) == []
        module = Stateful(0.0)
        module.held = held  # type: ignore[assignment]
        with refuses("augment", module):
            identity("augment", module)


class Setting:
    strength = 0.1


class Shaking(Setting):
    def __call__(self, x: Tensor) -> Tensor:
        return x + self.strength


def set_by_a_class(x: Tensor) -> Tensor:
    return x * Setting.strength


norm = 3.0  # the name of a method as well


def normed(x: Tensor) -> Tensor:
    return x / x.norm()


def test_constants_of_classes_and_names_of_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [identity("augment", each) for each in (Shaking(), set_by_a_class, normed)]
    monkeypatch.setattr(Setting, "strength", 5.0)
    monkeypatch.setitem(globals(), "norm", 4.0)
    after = [identity("augment", each) for each in (Shaking(), set_by_a_class, normed)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]
