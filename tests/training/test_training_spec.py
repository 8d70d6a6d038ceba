"""The settings of a training: checked where they are made, given to ``fit`` in two forms, and told apart by a checkpoint."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields, replace
from functools import partial
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import nn
from torch.optim.lr_scheduler import StepLR

from pyro_vd import KLWeight, PruningRule, VariationalDropout, fine_tune, fit
from pyro_vd.data import RandomAffine, TensorBatches
from pyro_vd.models import MLP
from pyro_vd.training import LRSchedule, TrainingSpec
from pyro_vd.training.keyword_settings import TrainingSettings

X, Y = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
GUIDE = VariationalDropout(MLP((4, 3)))
OTHER: dict[str, Any] = {
    "epochs": 3, "batch_size": 7, "lr": 0.1, "lr_schedule": LRSchedule("linear"), "kl_weight": KLWeight(0.5),
    "kl_weights": {"*": 0.5}, "num_examples": 30, "steps_per_epoch": 4, "target": "y",
    "train_threshold": 3.0, "noise": "example", "weight_decay": 0.1, "num_particles": 2, "augment": RandomAffine(8),
    "rule": PruningRule(2.0), "phase": "another", "optimizer": "SGD", "scheduler": partial(StepLR, step_size=2),
    "scheduler_interval": "step", "max_grad_norm": 0.1, "accumulate": 3,
    "restore_best": True, "shrink": True, "compile": True, "precision": "bf16-mixed",
}  # fmt: skip
"""Another value than the default for every field."""


def test_every_field_is_a_keyword_argument() -> None:
    names = [each.name for each in fields(TrainingSpec)]
    assert list(TrainingSettings.__annotations__) == names
    assert set(OTHER) == set(names)


def test_short_forms_become_the_long_ones() -> None:
    given: dict[str, Any] = {"kl_weight": 0.5, "lr_schedule": None, "rule": 2.0}
    assert TrainingSpec(2, **given) == TrainingSpec(2, kl_weight=KLWeight(0.5), rule=PruningRule(2.0))
    with pytest.raises(FrozenInstanceError):
        TrainingSpec(2).epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("batch_size", 0), ("lr", 0), ("lr", math.nan), ("lr_schedule", 0.5), ("kl_weight", "0.5"),
        ("kl_weights", 3), ("num_examples", 0), ("steps_per_epoch", 1.5), ("target", 3),
        ("train_threshold", 101), ("noise", "none"), ("weight_decay", -1), ("num_particles", 0), ("augment", 3),
        ("rule", "3"), ("phase", None), ("optimizer", 3), ("optimizer", "Adams"), ("scheduler", "StepLR"),
        ("scheduler_interval", "batch"), ("max_grad_norm", 0), ("accumulate", 1.5),
        ("restore_best", 1), ("shrink", 1), ("compile", 1), ("precision", "bf16"),
    ],
)  # fmt: skip
def test_out_of_range(name: str, value: Any) -> None:
    with refuses(name, value):
        TrainingSpec(**{"epochs": 1, name: value})


def trained(*spec: TrainingSpec, **settings: Any) -> list[Any]:
    torch.manual_seed(1)
    guide = VariationalDropout(MLP((4, 3)))
    result = fit(guide, (X, Y), None, *spec, progress=False, **settings)
    return [[parameter.tolist() for parameter in guide.parameters()], [(r.phase, r.loss) for r in result.history]]


def test_both_forms_train_alike_and_a_keyword_replaces_a_field() -> None:
    settings: dict[str, Any] = {"batch_size": 6, "lr": 0.05, "kl_weight": 0.5, "phase": "first"}
    expected = trained(epochs=2, **settings)
    assert trained(TrainingSpec(2, **settings)) == expected
    assert trained(TrainingSpec(9, **{**settings, "lr": 1.0}), epochs=2, lr=0.05) == expected


def test_wrong_names_are_named() -> None:
    for unknown, meant in {"epoch": "epochs", "learnrate": "", "klweight": "kl_weight", "progressbar": "progress"}.items():
        with refuses("setting", unknown, "epochs, batch_size, ") as error:
            trained(epochs=1, **{unknown: 1})
        assert str(error.value).endswith(f"; did you mean {meant!r}?" if meant else "progress")
    with refuses("epochs", ANYTHING, "epochs=10") as missing:
        trained(lr=0.1)
    assert not missing.value.has_value


def test_fine_tuning_takes_both_forms() -> None:
    net = nn.Linear(4, 3)
    assert fine_tune(net, (X, Y), epochs=1, progress=False).history[0].phase == "finetune"
    spec = TrainingSpec(1, phase="mine")
    assert fine_tune(net, (X, Y), spec=spec, progress=False).history[0].phase == "mine"


def test_a_fingerprint_is_plain_and_differs_where_the_training_does() -> None:
    def found(spec: TrainingSpec, y: torch.Tensor = Y) -> dict[str, Any]:
        return spec.fingerprint(GUIDE, TensorBatches(X, y, spec.batch_size or 100))

    plain = TrainingSpec(2)
    assert found(plain) == found(TrainingSpec(2))
    assert json.loads(json.dumps(found(plain))) == found(plain)
    for name, value in OTHER.items():
        other = found(replace(plain, **{name: value}))
        assert [key for key in other if other[key] != found(plain)[key]] == [name]
        assert "0x" not in str(other)
    moved = found(plain, Y.roll(1))
    assert [key for key in moved if moved[key] != found(plain)[key]] == ["data"]
