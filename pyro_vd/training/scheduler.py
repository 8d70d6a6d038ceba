"""A learning-rate scheduler of ``torch.optim`` in a training, and the checks of its state from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line, quoted
from pyro_vd.training.state_forms import check_alike

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.spec import TrainingSpec

SchedulerFactory = Callable[[Any], LRScheduler]
"""Makes a scheduler of an optimizer, such as ``functools.partial(CosineAnnealingLR, T_max=100)``."""


def make_scheduler(spec: TrainingSpec, optimizer: torch.optim.Optimizer, has_validation: bool) -> LRScheduler | None:
    """The scheduler of a training; None where the settings have none.

    Raises:
        InputError: it cannot be made, is no scheduler of this optimizer, or compares scores where there are none to compare.
    """
    if spec.scheduler is None:
        return None
    name, value = f"scheduler (={quoted(spec.scheduler)})", spec.scheduler
    try:
        scheduler = spec.scheduler(optimizer)
    except Exception as error:  # what a function of the user's own raises
        raise InputError(f"{name} cannot be made: {one_line(error)}", name="scheduler", value=value) from error
    if not isinstance(scheduler, LRScheduler) or scheduler.optimizer is not optimizer:
        raise InputError(
            f"{name} gave {quoted(scheduler)}; it must give a scheduler of torch.optim.lr_scheduler for the optimizer that it "
            "is called with",
            name="scheduler",
            value=scheduler,
            allowed="a scheduler of torch.optim.lr_scheduler",
        )
    if isinstance(scheduler, ReduceLROnPlateau):
        if not has_validation or spec.scheduler_interval != "epoch":
            needs = "scheduler_interval 'epoch'" if has_validation else "validation data"
            raise InputError(
                f"{name} needs {needs}: ReduceLROnPlateau compares the validation scores of epochs",
                name="scheduler",
                value=value,
            )
        if scheduler.mode != "min":
            raise InputError(name="scheduler: mode", value=scheduler.mode, allowed="'min': a lower validation score is better")
    return scheduler


def take_step(scheduler: LRScheduler, spec: TrainingSpec, record: EpochRecord | None = None) -> None:
    """Take a step, after an update of the parameters or at the end of an epoch.

    Args:
        scheduler: that of the training.
        spec: its settings, for messages.
        record: of the epoch, with the score that ReduceLROnPlateau compares.

    Raises:
        InputError: the scheduler cannot take one, as ``OneCycleLR`` after its last step.
    """
    try:
        if isinstance(scheduler, ReduceLROnPlateau):
            assert record is not None
            assert record.score is not None
            scheduler.step(record.score)
        else:
            scheduler.step()
    except (ValueError, ArithmeticError) as error:
        message = f"scheduler (={quoted(spec.scheduler)}) cannot take a further step: {one_line(error)}"
        raise InputError(message, name="scheduler", value=spec.scheduler) from error


def check_scheduler_state(where: str, state: Any, scheduler: LRScheduler | None) -> None:
    """Refuse a ``state_dict`` that is not one of this scheduler; that of a class of the user's own may grow.

    Raises:
        InputError: keys, types or lengths that differ from those of the scheduler's own state.
    """
    own = None if scheduler is None else scheduler.state_dict()
    check_alike(f"{where}: scheduler", state, own, grows=not type(scheduler).__module__.startswith("torch.optim"))
