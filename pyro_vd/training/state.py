"""The state of a training: what it is made of, and what changes with every step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from pyro_vd._core.errors import InputError
from pyro_vd.data.batches import Batches
from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.networks.inputs import to_device
from pyro_vd.pruning.pruned import pruned_or_mean
from pyro_vd.training.best_epoch import BestEpoch
from pyro_vd.training.guard import NonFiniteGuard
from pyro_vd.training.spec import TrainingSpec


@dataclass
class TrainingState:
    """A training at one of its steps, which callbacks are given; they must not change it, except by :meth:`stop`."""

    guide: WeightGuide
    """Its ``guide.model`` is the model."""
    spec: TrainingSpec
    batches: Batches
    validation: Arrays | None
    """Held-out data, on the device."""
    device: torch.device
    elbo: VariationalDropoutELBO
    """The objective, with the terms of the last step."""
    loss_of: nn.Module
    """Model and guide as one module, whose call gives the loss."""
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | None
    guard: NonFiniteGuard
    shuffle: torch.Generator
    """The generator of the order of the examples."""
    history: list[EpochRecord] = field(default_factory=list)
    """The records of the epochs that are complete."""
    step: int = 0
    """Steps of the present epoch that are complete, skipped ones too; 0 between two epochs. A step takes one batch."""
    stopped: bool = False
    """Whether the training ends after the present epoch, though not all epochs are complete; see :meth:`stop`."""
    best: BestEpoch | None = None
    """The best epoch so far, where the training goes back to it."""
    lr: float = math.nan
    """Learning rate of the last update, of the first group of parameters."""

    def __post_init__(self) -> None:
        self.initial_lr: list[float] = [group["lr"] for group in self.optimizer.param_groups]
        """Learning rates at the start of the training, one per group of parameters."""

    def stop(self) -> None:
        """End the training after the present epoch, or before the first step; the one change that a callback may make."""
        self.stopped = True

    @property
    def epoch(self) -> int:
        """The number of epochs that are complete."""
        return len(self.history)

    @property
    def now(self) -> float:
        """The time in epochs, such as 2.5 in the middle of the third one."""
        return self.epoch + self.step / len(self.batches)

    def draw_epoch(self) -> Iterator[Arrays]:
        """The batches of an epoch, on the device.

        Raises:
            InputError: there are not as many of them as they say.
        """
        count = 0
        for x, y in self.batches.epoch(self.shuffle):
            count += 1
            if count > len(self.batches):
                break  # an endless one would never end
            yield to_device(x, self.device), to_device(y, self.device)
        if count != len(self.batches):
            said = len(self.batches)
            raise InputError(
                f"training data: an epoch gave {count} batches; len(batches) is {said}",
                name="training data",
                value=count,
                allowed=f"{said} batches",
            )

    def network(self) -> nn.Module:
        """The network as it would be pruned now."""
        return pruned_or_mean(self.guide, self.spec.rule)
