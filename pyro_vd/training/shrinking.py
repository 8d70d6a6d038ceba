"""A training that goes on with a smaller network: inputs and units that dead weights alone connect are removed for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor, nn

from pyro_vd._core.generators import generators_kept
from pyro_vd.compaction import ShrinkPlan
from pyro_vd.data.batches import Batches, TensorBatches
from pyro_vd.guides import smaller as guides
from pyro_vd.models import smaller as models
from pyro_vd.networks.inputs import Inputs, rows, run_apart
from pyro_vd.training import smaller_optimizer as optimizers
from pyro_vd.training.folding import fold
from pyro_vd.training.optimizer_state import first_step
from pyro_vd.training.shrink_decision import Decision, DecisionState
from pyro_vd.training.smaller_pair import Places, SmallerPair, selected

if TYPE_CHECKING:
    from pyro_vd.training.state import TrainingState


class ShrinkingState(TypedDict):
    """What a checkpoint holds of a training that shrinks, beside the values of the whole pair."""

    plans: list[Any]
    decision: DecisionState


class Shrinking:
    """Makes the network of a training smaller, with its guide, its optimizer's state and its batches.

    The user's own pair keeps its size. What is trained is written into it after every epoch, and whenever the network is
    measured; what was removed has masks there, which hold it at zero.

    Args:
        state: the training before its first step.
        x: a batch of inputs.

    Raises:
        InputError: the model, the guide, a prior or the optimizer cannot become smaller.
    """

    def __init__(self, state: TrainingState, x: Inputs) -> None:
        guide = state.guide
        models.check_can_shrink(guide.model)
        guides.check_can_shrink(guide)
        optimizers.check_can_shrink(state.optimizer, first_step(state.optimizer))
        self.whole: nn.Module = state.loss_of
        """The user's own pair as one module."""
        self.pair: SmallerPair = SmallerPair(guide, state.loss_of)
        """What is trained."""
        self.plans: list[ShrinkPlan] = []
        """What was removed, in this order, each from what the one before had left."""
        self.batches: Batches = state.batches
        """The batches of the training; tensors in memory without the inputs that were removed, unless they are augmented."""
        self._selects_batches = type(state.batches) is not TensorBatches or state.spec.augment is not None
        self._example = rows(x, slice(2))
        self.pair.smaller(ShrinkPlan(()), state.elbo)  # refuses what can never become smaller
        self._decision = Decision(guide, state.spec.rule)
        state.processes.of_first(partial(self._decision.try_out, guide, self._example))

    def inputs_of(self, x: Any) -> Any:
        """What the network reads of a batch of :attr:`batches`, once it is augmented."""
        for plan in self.plans if self._selects_batches else ():
            x = x if plan.inputs is None else selected(x, plan.inputs)
        return x

    def write(self) -> None:
        """Write what is trained into the user's own pair."""
        if self.plans:
            self.pair.write(self.whole)

    def before_training(self, state: TrainingState) -> None:
        """Remove what masks have removed from the guide, if that is worth it."""
        self._remove(state, partial(self._decision.before_training, self.pair.guide, self._example))

    def after_epoch(self, state: TrainingState) -> bool:
        """Remove what has been dead for some epochs, if that is worth it; return whether anything was removed."""
        is_last = state.epoch >= state.spec.epochs
        return self._remove(state, partial(self._decision.after_epoch, self.pair.guide, self._example, state.epoch, is_last))

    def _remove(self, state: TrainingState, decide: Callable[[], ShrinkPlan | None]) -> bool:
        plan = state.processes.of_first(decide)
        if plan is None:
            return False
        masks = fold(self.pair.guide.model, plan)
        self.pair.write(self.whole)
        self.pair.write_masks(state.guide, masks)
        self._resize(state, plan)
        self.pair.write_masks(state.guide, self.pair.all_kept())
        self.resume(state)
        state.processes.begin(state.trained)
        return True

    def _resize(self, state: TrainingState, plan: ShrinkPlan) -> None:
        """Put the smaller pair, whose values are open, in the place of the present one, in the optimizer and for batches."""
        before = dict(self.pair.loss_of.named_parameters())
        self.pair, step = self.pair.smaller(plan, state.elbo)
        now = dict(self.pair.loss_of.named_parameters())
        pairs = {before[name]: (new, step.get(name)) for name, new in now.items() if new is not before[name]}
        optimizers.take_smaller(state.optimizer, pairs)
        self._decision.take_smaller(self.pair.guide.model, self._of_sites(step))
        self.plans.append(plan)
        if plan.inputs is not None:
            self._example = selected(self._example, plan.inputs)
            if not self._selects_batches:
                given: Any = self.batches
                self.batches = replace(given, x=selected(given.x, plan.inputs))

    def _of_sites(self, places: Places) -> dict[str, Tensor]:
        """The places of weights by site."""
        names = {name: f"guide.sites.{name}.theta" for name in self.pair.guide.site_names}
        return {name: places[full] for name, full in names.items() if full in places}

    def resume(self, state: TrainingState) -> None:
        """Take the values and masks that the whole pair has now, and train with them from now on."""
        if self.plans:
            self.pair.read(self.whole)
            self.pair.read_masks(state.guide)
            state.go_on_with(self.pair.loss_of)

    def state_dict(self) -> ShrinkingState:
        """Return what a checkpoint holds beside the values of the whole pair."""
        return ShrinkingState(plans=[plan.to_json() for plan in self.plans], decision=self._decision.state_dict())

    def resize(self, state: TrainingState, saved: ShrinkingState) -> None:
        """Make the pair and the optimizer of the size that they had when a checkpoint was written; :meth:`resume` follows.

        Raises:
            InputError: ``saved`` is not what :meth:`state_dict` has returned in a training of this network.
            RuntimeError: its plans do not fit one another.
        """
        for tree in saved["plans"]:
            self._resize(state, ShrinkPlan.from_json(tree))
        model = self.pair.guide.model
        with torch.no_grad(), generators_kept(state.device):
            run_apart(
                model.to_module(model.initial_weights), self._example
            )  # raises an error where inputs do not fit what is left
        self._decision.load_state_dict(saved["decision"])
