"""Updates of the parameters: gradients of one batch or of several, clipping, the optimizer's step, the scheduler's step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_vd.inference.handlers import own_parameters
from pyro_vd.networks.inputs import Inputs, num_examples
from pyro_vd.networks.precision import lowered
from pyro_vd.training.compiling import Compiling
from pyro_vd.training.scheduler import take_step

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.state import TrainingState


class Update:
    """Takes the batches of a training one after another, and updates the parameters after every ``accumulate`` of them.

    The gradient of several batches is that of one batch with all their examples: with B_i examples in batch i the mean of the
    losses with the weights B_i / ΣB. As the weights add up to 1, the KL counts once. What is left at the end of an epoch makes
    an update of its own. The batches of other processes that train together count as further ones; a process may have none.
    """

    batch: tuple[Any, ...] = ()
    """Inputs, augmented, and observations of the last batch; empty where this process has had no examples yet."""

    def __init__(self, state: TrainingState) -> None:
        self._state = state
        self._trained = state.trained
        pair: Any = state.loss_of
        self._model, self._guide = pair.model, pair.guide
        self._norm = state.spec.max_grad_norm
        self._compiling = Compiling(state)
        self._batches = 0
        """How many were taken since the last update."""
        self._terms = torch.zeros(3)
        self._first, self._shares, self._examples = 1, 0.0, 0
        """Of this update and process: examples of the first batch, batches in units of the first one, and all examples."""

    def take(self, x: Inputs, y: Any) -> Tensor | None:
        """Take a batch.

        Returns:
            Loss, data term and KL of an update that was made with it; None where none was: the batch is not the last of an
            update, or the update was skipped because its loss or gradient is not finite.

        Raises:
            NonFiniteError: ten updates in a row are not finite.
        """
        state, spec = self._state, self._state.spec
        if not self._batches:
            self._start()
        self._batches += 1
        if (examples := num_examples(x)) or state.processes.alone:
            self._add(x, y, examples)
        if self._batches < spec.accumulate and state.step + 1 < len(state.batches):
            return None
        return self._finish()

    def _add(self, x: Inputs, y: Any, examples: int) -> None:
        """Add the gradient of a batch of so many examples."""
        state, spec = self._state, self._state.spec
        inputs = state.inputs_of(x)
        self.batch, self._given = (inputs, y), (x, y)
        is_first = not self._examples
        self._first = examples if is_first else self._first
        share = examples / self._first
        # Parameters belong to the modules: Pyro's store, and another training, are left alone.
        with own_parameters(), lowered(self._model, spec.precision):
            loss = self._compiling.backward(inputs, y, share)
            if loss is None:
                loss = state.elbo.scaled_backward(share, self._model, self._guide, inputs, y)
        terms = torch.stack([loss.detach(), state.elbo.data_term, state.elbo.kl])
        self._terms = terms if is_first else self._terms + share * terms
        self._shares += share
        self._examples += examples

    def _start(self) -> None:
        """Begin an update: schedules hold for all of it."""
        state, spec = self._state, self._state.spec
        control = state.control
        state.elbo.kl_weight = spec.kl_weight.at(state.now) if control is None else control.weight(state)
        if spec.scheduler is None:
            factor = spec.lr_schedule.at(state.now, spec.epochs)
            for group, lr in zip(state.optimizer.param_groups, state.initial_lr, strict=True):
                group["lr"] = lr * factor
        state.lr = state.optimizer.param_groups[0]["lr"]
        state.optimizer.zero_grad()
        self._first, self._shares, self._examples = 1, 0.0, 0

    def _finish(self) -> Tensor | None:
        state = self._state
        if self._batches > 1 and self._examples:
            for parameter in self._trained:
                if parameter.grad is not None:
                    parameter.grad /= self._shares
            self._terms /= self._shares
        self._batches = 0
        self._terms = state.processes.mean(self._examples, self._terms)
        if not state.guard.is_finite(self._terms[0]):
            if self._examples:
                state.check_batch(*self._given)
            return None
        if self._norm is not None:
            torch.nn.utils.clip_grad_norm_(self._trained, self._norm * state.batches.num_examples)
        state.optimizer.step()
        if state.scheduler is not None and state.spec.scheduler_interval == "step":
            take_step(state.scheduler, state.spec)
        return self._terms

    def end_epoch(self, record: EpochRecord) -> None:
        """Take the scheduler's step of an epoch, after it was measured."""
        self._compiling.end_epoch()
        if self._state.scheduler is not None and self._state.spec.scheduler_interval == "epoch":
            take_step(self._state.scheduler, self._state.spec, record)
