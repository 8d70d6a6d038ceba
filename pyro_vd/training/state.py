"""The state of a training: what it is made of, and what changes with every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from pyro_vd._core.errors import InputError
from pyro_vd.data.augmentation import augmented
from pyro_vd.data.batches import Batches
from pyro_vd.data.dataset import Arrays
from pyro_vd.data.reading import reading_batch
from pyro_vd.data.shards import Shard
from pyro_vd.evaluation.checked_batches import CheckedBatches
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.networks.inputs import Inputs, num_examples, rows, to_device
from pyro_vd.pruning.pruned import pruned_or_mean
from pyro_vd.training.batch_reading import BatchChecks
from pyro_vd.training.best_epoch import BestEpoch
from pyro_vd.training.guard import NonFiniteGuard
from pyro_vd.training.kl_control import KLControl
from pyro_vd.training.processes import Processes
from pyro_vd.training.shrinking import Shrinking
from pyro_vd.training.spec import TrainingSpec

TRAINING_DATA = "training data"
"""The name of the data in errors."""


@dataclass
class TrainingState:
    """A training at one of its steps, which callbacks are given; they must not change it, except by :meth:`stop`."""

    guide: WeightGuide
    """Its ``guide.model`` is the model. Where the training shrinks, both have the values of the end of the last epoch, or of
    the last call of :meth:`network`."""
    spec: TrainingSpec
    processes: Processes
    """The processes that train together."""
    batches: Batches
    cut: Shard
    """The share of this process in each of the batches, if they are not its share already."""
    checks: BatchChecks | None
    """Checks batches that are read during the training; None for tensors in memory, all of which have been checked."""
    validation: Arrays | CheckedBatches | None
    """Held-out data: on the device, or in batches."""
    device: torch.device
    elbo: VariationalDropoutELBO
    """The objective, with the terms of the last step."""
    loss_of: nn.Module
    """What is trained: model and guide as one module, whose call gives the loss. Where the training shrinks, they become
    smaller than those of :attr:`guide`."""
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | None
    guard: NonFiniteGuard
    shuffle: torch.Generator
    """The generator of the order of the examples."""
    example: Inputs
    """A few training inputs, as the whole network takes them."""
    history: list[EpochRecord] = field(default_factory=list)
    """The records of the epochs that are complete."""
    step: int = 0
    """Steps of the present epoch that are complete, skipped ones too; 0 between two epochs. A step takes one batch."""
    stopped: bool = False
    """Whether the training ends after the present epoch, though not all epochs are complete; see :meth:`stop`."""
    best: BestEpoch | None = None
    """The best epoch so far, where the training goes back to it."""
    shrinking: Shrinking | None = None
    """What makes the network smaller while it is trained, if the training does."""
    control: KLControl | None = None
    """What finds β, where the training has a compression as its target."""
    compile_seconds: list[float] = field(default_factory=list)
    """How long each compilation of the step has taken, where the training compiles it."""
    put_back: Callable[[], None] | None = None
    """Makes model and guide what they were before the training; None once the first step is compiled, if steps are."""
    lr: float = math.nan
    """Learning rate of the last update, of the first group of parameters."""
    batch: str = TRAINING_DATA
    """The name of the batch that was drawn last, for errors."""

    def __post_init__(self) -> None:
        self.initial_lr: list[float] = [group["lr"] for group in self.optimizer.param_groups]
        """Learning rates at the start of the training, one per group of parameters."""

    def stop(self) -> None:
        """End the training after the present epoch, or before the first step; the one change that a callback may make."""
        self.stopped = True

    @property
    def whole(self) -> nn.Module:
        """The user's own pair as one module, of the size that it had before the training."""
        return self.loss_of if self.shrinking is None else self.shrinking.whole

    @property
    def epoch(self) -> int:
        """The number of epochs that are complete."""
        return len(self.history)

    @property
    def is_complete(self) -> bool:
        """Whether no further epoch is trained: all are complete, or the training was stopped."""
        return self.stopped or self.epoch >= self.spec.epochs

    @property
    def now(self) -> float:
        """The time in epochs, such as 2.5 in the middle of the third one."""
        return self.epoch + self.step / len(self.batches)

    def draw_epoch(self) -> Iterator[Arrays]:
        """The batches of an epoch, on the device.

        Raises:
            InputError: one of them cannot be read or is not valid, or there are not as many of them as they say.
        """
        said, count = len(self.batches), 0
        drawn = (self.batches if self.shrinking is None else self.shrinking.batches).epoch(self.shuffle)
        while True:
            self.batch = f"{TRAINING_DATA}, batch {count + 1} of epoch {self.epoch + 1}"
            with reading_batch(self.batch):
                batch: Arrays | None = next(drawn, None)
            count += batch is not None
            if batch is None or count > said:  # an endless one would never end
                break
            x, y = batch
            if self.checks is not None and (self.processes.alone or num_examples(x)):
                x, y = self.checks.taken(self.batch, x, y)
            if self.cut.size > 1:
                x, y = rows((x, y), self.cut.part(num_examples(x)))
            yield to_device((x, y), self.device, non_blocking=self.device.type == "cuda")  # of pinned memory
        if count != said:
            given = f"more than {said}" if count > said else count
            raise InputError(
                f"{TRAINING_DATA}: epoch {self.epoch + 1} gave {given} batches; len(batches) is {said}",
                name=TRAINING_DATA,
                value=count,
                allowed=f"{said} batches",
            )
        if self.checks is not None:
            self.checks.checks_all = False

    def explained(self, x: Any, y: Any) -> AbstractContextManager[None]:
        """Look for the reason of an error inside in the batch that was drawn last, if it was read during the training.

        Raises:
            InputError: see :meth:`~pyro_vd.training.batch_reading.BatchChecks.explained`.
        """
        return nullcontext() if self.checks is None else self.checks.explained(self.batch, x, y)

    def check_batch(self, x: Any, y: Any) -> None:
        """Check the batch that was drawn last, whose loss is not finite, if it was read during the training.

        Raises:
            InputError: see :func:`~pyro_vd.models.data_checks.check_data`.
        """
        if self.checks is not None:
            self.checks.check(self.batch, x, y)

    def inputs_of(self, x: Inputs) -> Inputs:
        """What the network reads of a batch: augmented, and without the inputs that were removed."""
        x = x if self.spec.augment is None else augmented(self.spec.augment, x)
        return x if self.shrinking is None else self.shrinking.inputs_of(x)

    def write(self) -> None:
        """Write what is trained into the user's own pair, where that is another one."""
        if self.shrinking is not None:
            self.shrinking.write()

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained now."""
        return [parameter for parameter in self.loss_of.parameters() if parameter.requires_grad]

    def go_on_with(self, loss_of: nn.Module) -> None:
        """Train another pair from now on, which has taken the place of the present one."""
        skipped = self.guard.skipped, self.guard.in_a_row
        self.loss_of = loss_of
        self.guard = NonFiniteGuard(loss_of, self.elbo)
        self.guard.skipped, self.guard.in_a_row = skipped

    def network(self) -> nn.Module:
        """The network as it would be pruned now, at the size that it had before the training."""
        self.write()
        return pruned_or_mean(self.guide, self.spec.rule)
