"""Training that goes on from a finished run."""

from __future__ import annotations

from typing import Any

from pyro_vd._core.errors import InputError
from pyro_vd._core.settings import tree_of
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.pruning.rule import pruning_masks
from pyro_vd.workflow.finished_run import Run, load_run, run_rule
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.run_folder import differences_of


def run_to_start_from(recipe: Recipe) -> Run | None:
    """The finished run that ``train.start_from`` names; None where training starts anew.

    Raises:
        InputError: there is none, its files are broken, or its data, network or guide are others than the recipe's; with other
            data it could have been trained on what is now for validation or test.
    """
    if (folder := recipe.train.start_from) is None:
        return None
    try:
        run = load_run(folder)
    except InputError as error:
        message = f"train.start_from (={folder!r}) must be the folder of a finished run: {error}"
        raise InputError(message, name="train.start_from", value=folder) from error
    if different := differences_of(_what_must_agree(run.recipe), _what_must_agree(recipe)):
        allowed = f"a run with the same data, model and train.guide: {'; '.join(sorted(different))}"
        raise InputError(name="train.start_from", value=folder, allowed=allowed)
    return run


def go_on_from(run: Run, guide: WeightGuide) -> None:
    """Fill a guide and its model with what a run has learnt before its fine-tuning; what it pruned stays removed."""
    guide.model.load_state_dict(run.model.state_dict())
    guide.load_state_dict(run.guide.state_dict())
    if run.guide.learns_alpha:
        guide.apply_masks(pruning_masks(run.guide, run_rule(run)))


def _what_must_agree(recipe: Recipe) -> dict[str, Any]:
    tree = tree_of(recipe)
    data = {key: value for key, value in tree["data"].items() if key != "dir"}
    return {"data": data, "model": tree["model"], "train": {"guide": tree["train"]["guide"]}}
