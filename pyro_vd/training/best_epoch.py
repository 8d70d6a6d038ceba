"""The best epoch of a training by its validation score: found in the history, kept, and gone back to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.spec import TrainingSpec
    from pyro_vd.training.state import TrainingState


def counted(history: Sequence[EpochRecord], spec: TrainingSpec) -> list[EpochRecord]:
    """The epochs whose scores are compared: those that end when the KL has its full weight.

    Before, the KL has not yet pruned what it will prune, and the score is that of a larger network.
    """
    return [record for record in history if record.epoch >= spec.kl_weight.end and record.score is not None]


def check_scores(name: str, state: TrainingState) -> None:
    """Refuse to compare epochs where none will have a score that counts.

    Raises:
        InputError: there are no validation data, or the training ends before the KL has its full weight.
    """
    if state.validation is None:
        raise InputError(f"{name} compares validation scores; give fit validation data", name=name, allowed="validation data")
    if state.spec.epochs < state.spec.kl_weight.end:
        raise InputError(
            f"{name} compares the epochs from the end of the KL warm-up on, epoch {state.spec.kl_weight.end:g}; the training "
            f"has only {state.spec.epochs}",
            name=name,
            value=state.spec.kl_weight.end,
            allowed=f"a warm-up that ends by epoch {state.spec.epochs}",
        )


class BestEpoch:
    """Keeps the parameters and buffers of the best epoch so far.

    Of epochs with the same score it keeps the last one, whose network is as good and has usually fewer weights. A score that is
    not a number is never the best.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.values: dict[str, Tensor] = {}
        """The state of the module after the best epoch; empty before the first one that counts."""

    def after_epoch(self, state: TrainingState) -> None:
        """Keep the present values if the last epoch is the best so far."""
        if self.epoch(state) == state.epoch:
            self.values = {name: tensor.clone() for name, tensor in self._module.state_dict().items()}

    def epoch(self, state: TrainingState) -> int | None:
        """The number of the best epoch, counted from 1; None before the first one that counts."""
        scores = [(record.score, -record.epoch) for record in counted(state.history, state.spec)]
        comparable = [(score, epoch) for score, epoch in scores if score is not None and score == score]
        return -min(comparable)[1] if comparable else None

    @torch.no_grad()
    def restore(self) -> None:
        """Put the values of the best epoch into the module."""
        for name, tensor in self._module.state_dict().items():
            if name in self.values:
                tensor.copy_(self.values[name])
