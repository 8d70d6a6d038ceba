"""The settings of a training as keyword arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any, Literal, TypedDict

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import must_be_one_of
from pyro_vd.inference.output_noise import OutputNoise
from pyro_vd.networks.precision import Precision
from pyro_vd.pruning.rule import Rule
from pyro_vd.training.optimizer import OptimizerFactory
from pyro_vd.training.scheduler import SchedulerFactory
from pyro_vd.training.schedules import KLWeight, LRSchedule
from pyro_vd.training.spec import Augmentation, TrainingSpec


class TrainingSettings(TypedDict, total=False):
    """The fields of :class:`~pyro_vd.training.TrainingSpec` as keyword arguments; some also take a short form."""

    epochs: int
    batch_size: int | None
    num_examples: int | None
    steps_per_epoch: int | None
    target: str | None
    lr: float | None
    lr_schedule: LRSchedule | None
    optimizer: OptimizerFactory | str | None
    scheduler: SchedulerFactory | None
    scheduler_interval: Literal["epoch", "step"]
    max_grad_norm: float | None
    accumulate: int
    kl_weight: KLWeight | float
    kl_weights: Mapping[str, float]
    train_threshold: float | None
    noise: OutputNoise
    weight_decay: float
    num_particles: int
    augment: Augmentation | None
    rule: Rule
    restore_best: bool
    shrink: bool
    precision: Precision
    compile: bool
    phase: str


_MEANT = {
    "learning_rate": "lr",
    "learningrate": "lr",
    "beta": "kl_weight",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "bs": "batch_size",
    "gradient_clip": "max_grad_norm",
    "clip_norm": "max_grad_norm",
    "threshold": "rule",
}
"""Settings by the names that other libraries give them, which are not similar enough to be found."""


def spec_of(spec: TrainingSpec | None, settings: dict[str, Any], allowed: Collection[str]) -> TrainingSpec:
    """The settings that were given as an object, as keyword arguments, or as both: a keyword argument replaces a field.

    Args:
        spec: the object, or None.
        settings: the keyword arguments.
        allowed: all keyword arguments of the function, one of which may be meant by an unknown name.

    Raises:
        InputError: an unknown name, no number of epochs, or a setting out of range.
    """
    known = [each.name for each in fields(TrainingSpec)]
    if unknown := [name for name in settings if name not in known]:
        if (meant := _MEANT.get(unknown[0].lower())) is not None:
            message = f"setting (={unknown[0]!r}) is unknown; did you mean {meant!r}?"
            raise InputError(message, name="setting", value=unknown[0], allowed=f"one of {', '.join(allowed)}")
        raise InputError(must_be_one_of("setting", unknown[0], allowed), name="setting", value=unknown[0])
    if spec is None:
        if "epochs" not in settings:
            raise InputError(
                "epochs is missing; it must be given, as in fit(guide, data, epochs=10), or in a TrainingSpec",
                name="epochs",
                allowed="given",
            )
        return TrainingSpec(**settings)
    if not isinstance(spec, TrainingSpec):
        raise InputError(name="spec", value=spec, allowed="a TrainingSpec or None")
    return replace(spec, **settings)
