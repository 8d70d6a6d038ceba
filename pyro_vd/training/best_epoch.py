"""The best epoch of a training by its validation score: found in the history, kept, and gone back to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.guides.site import Site

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.spec import TrainingSpec
    from pyro_vd.training.state import TrainingState


def counted(history: Sequence[EpochRecord], spec: TrainingSpec) -> list[EpochRecord]:
    """The epochs whose scores are compared: those that end when the KL has its full weight.

    Before, the KL has not yet pruned what it will prune, and the score is that of a larger network.
    """
    return [record for record in history if record.epoch >= spec.kl_weight.settled(spec.epochs) and record.score is not None]


def check_scores(name: str, state: TrainingState) -> None:
    """Refuse to compare epochs where none will have a score that counts.

    Raises:
        InputError: there are no validation data, or the training ends before the KL has its full weight.
    """
    if state.validation is None:
        raise InputError(f"{name} compares validation scores; give fit validation data", name=name, allowed="validation data")
    settled = state.spec.kl_weight.settled(state.spec.epochs)
    if state.spec.epochs < settled:
        raise InputError(
            f"{name} compares the epochs from the end of the KL warm-up on, epoch {settled:g}; the training "
            f"has only {state.spec.epochs}",
            name=name,
            value=settled,
            allowed=f"a warm-up that ends by epoch {state.spec.epochs}",
        )


def best_epoch(history: Sequence[EpochRecord], spec: TrainingSpec) -> int | None:
    """The number of the epoch with the best score, counted from 1; None where none counts.

    Of epochs with the same score it is the last one, whose network is as good and has usually fewer weights. A score that is
    not a number is never the best.
    """
    scores = [(record.score, -record.epoch) for record in counted(history, spec)]
    comparable = [(score, epoch) for score, epoch in scores if score is not None and score == score]
    return -min(comparable)[1] if comparable else None


class BestEpoch:
    """Keeps the parameters and buffers of the best epoch so far, see :func:`best_epoch`."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.values: dict[str, Tensor] | None = None
        """The state of the module after the best epoch; None before the first one that counts."""

    def after_epoch(self, state: TrainingState) -> None:
        """Keep the present values if the last epoch is the best so far."""
        if best_epoch(state.history, state.spec) == state.epoch:
            self.values = {name: tensor.clone() for name, tensor in self._module.state_dict().items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Put the values of the best epoch into the module, without the masks of weights that were removed after it."""
        if self.values is None:
            return
        for name, module in self._module.named_modules():
            if isinstance(module, Site):
                module.put_back(self.values.get(f"{name}.mask"))
        for name, tensor in self._module.state_dict().items():
            tensor.copy_(self.values[name])
