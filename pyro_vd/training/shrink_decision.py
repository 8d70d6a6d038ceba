"""When a network that is trained becomes smaller: by how long its weights have been beyond the threshold, and what would go."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.compaction import ShrinkPlan
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.inputs import Inputs
from pyro_vd.pruning.rule import PruningRule, pruning_masks
from pyro_vd.training.removable import Masks, find_plan, obstacle, weights_left
from pyro_vd.training.state_forms import check_kind

logger: logging.Logger = logging.getLogger(__name__)

EPOCHS = 3
"""At the ends of so many epochs, one after another, a weight must be beyond the threshold to count as dead; and the least
number of epochs between two looks."""
LEAST = 0.1
"""The least share of the weights that must be likely to go before a plan is made, which costs seconds."""
WORTH = 0.05
"""The least share of the weights that must go for a plan to be carried out."""


class DecisionState(TypedDict):
    """What a checkpoint holds of a :class:`Decision`."""

    counts: dict[str, Tensor]
    looked: int
    left_over: int
    can: bool


class Decision:
    """Decides before the training, and after every epoch, whether the network becomes smaller, and what goes.

    Args:
        guide: of the network that is trained.
        rule: the rule of the training.
    """

    def __init__(self, guide: WeightGuide, rule: PruningRule) -> None:
        self._rule = rule_for_good(rule, guide.train_threshold)
        self._counts = {name: _counts_before(guide, name) for name in guide.site_names}
        self._looked = 0
        """The epoch after which a plan was made last."""
        self._left_over = 0
        """The number of weights that were likely to go then, and have stayed."""
        self._can = True

    def try_out(self, guide: WeightGuide, example: Inputs) -> None:
        """Say in a message if the network cannot be followed, so that nothing can be removed from it."""
        reason = find_plan(guide, {name: torch.zeros_like(dead) for name, dead in self._dead().items()}, example).reason
        self._can = reason is None
        if reason is not None:
            logger.warning("shrink=True has no effect: %s", reason)

    def _dead(self) -> dict[str, Tensor]:
        return {name: count == EPOCHS for name, count in self._counts.items()}

    def before_training(self, guide: WeightGuide, example: Inputs) -> ShrinkPlan | None:
        """Return the plan of what the guide's masks removed before the training; None where nothing goes.

        Units that are constant stay for now, so that no bias has changed where the first step fails.
        """
        return self._plan(guide, example, 0, constants=False)

    def after_epoch(self, guide: WeightGuide, example: Inputs, epoch: int, is_last: bool) -> ShrinkPlan | None:
        """Count an epoch, and return the plan of what goes for good; None where nothing does.

        Args:
            guide: of the network that is trained.
            example: a batch of its inputs.
            epoch: the number of the epoch, from 1 on.
            is_last: whether nothing is trained after it.
        """
        if not self._can:
            return None
        self._counts = count_epochs(guide, self._rule, self._counts)
        return None if is_last or epoch - self._looked < EPOCHS else self._plan(guide, example, epoch)

    def _plan(self, guide: WeightGuide, example: Inputs, epoch: int, constants: bool = True) -> ShrinkPlan | None:
        dead = self._dead()
        total, likely = sum(mask.numel() for mask in dead.values()), likely_to_go(guide.model, dead)
        if not self._can or likely - self._left_over < LEAST * total:
            return None
        self._looked, self._left_over = epoch, likely if constants else 0
        plan = find_plan(guide, dead, example, constants=constants).plan
        if constants and obstacle(plan, guide, dead) is not None:
            plan = find_plan(guide, dead, example, constants=False).plan
        why = obstacle(plan, guide, dead)
        if why is not None:
            self._can = False
            logger.warning("from epoch %d on, the network is not made smaller: %s", epoch + 1, why)
            return None
        left = weights_left(guide.model, plan)
        if left > (1 - WORTH) * total:
            return None
        logger.info("from epoch %d on, %d of %d weights are left in the network", epoch + 1, left, total)
        return replace(plan, messages=())

    def take_smaller(self, model: BayesianNetwork, places: Mapping[str, Tensor]) -> None:
        """Go on with what is left of the weights, given its places by site; a site that is not there is whole."""
        self._counts = {name: count.take(places[name]) if name in places else count for name, count in self._counts.items()}
        self._left_over = likely_to_go(model, self._dead()) if self._looked else 0  # constant units go later

    def state_dict(self) -> DecisionState:
        """Return what a checkpoint holds."""
        return DecisionState(counts=self._counts, looked=self._looked, left_over=self._left_over, can=self._can)

    def load_state_dict(self, saved: DecisionState) -> None:
        """Go on from what :meth:`state_dict` has returned, when the network has the size that it had then.

        Raises:
            InputError: ``saved`` is of a network of other sizes.
        """
        counts = saved["counts"]
        if counts.keys() != self._counts.keys():
            raise InputError(name="counts", value=list(counts), allowed=f"the sites {', '.join(self._counts)}")
        for name, count in self._counts.items():
            check_kind(f"counts.{name}", counts[name], count)
        self._counts = {name: counts[name].to(count.device) for name, count in self._counts.items()}
        self._looked, self._left_over, self._can = saved["looked"], saved["left_over"], saved["can"]


def _counts_before(guide: WeightGuide, name: str) -> Tensor:
    """The counts of a site before the training: what a mask has removed is dead."""
    counts, mask = torch.zeros_like(guide.site(name).theta, dtype=torch.uint8), guide.mask(name)
    return counts if mask is None else counts.masked_fill(~mask, EPOCHS)


def rule_for_good(rule: PruningRule, train_threshold: float | None) -> PruningRule:
    """The rule of the weights that are pruned by a threshold, and held at zero in training if any are.

    What a largest number of inputs prunes stays: it takes part in the training.
    """
    held = float("-inf") if train_threshold is None else train_threshold
    thresholds = {site: max(threshold, held) for site, threshold in rule.thresholds.items()}
    return PruningRule(max(rule.threshold, held), None, thresholds)


@torch.no_grad()
def count_epochs(guide: WeightGuide, rule: PruningRule, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Count, per weight, the epochs at whose ends it was beyond the threshold, up to :data:`EPOCHS`; 0 if it is not now."""
    kept = pruning_masks(guide, rule)
    return {name: (counts[name] + 1).clamp(max=EPOCHS).masked_fill(kept[name], 0) for name in counts}


def likely_to_go(model: BayesianNetwork, dead: Masks) -> int:
    """The number of weights that belong to outputs or inputs of their layer of which all weights are dead.

    It costs little, but says neither what else goes with them nor what must stay.
    """
    total = 0
    for name, mask in dead.items():
        axes = model.weight_axes(name)
        if "in" in axes and "out" in axes:
            by_unit = [mask.movedim(axes.index(axis), 0).flatten(1).all(1) for axis in ("in", "out")]
            inputs, outputs = (1 - float(units.double().mean()) for units in by_unit)
            total += round((1 - inputs * outputs) * mask.numel())
    return total
