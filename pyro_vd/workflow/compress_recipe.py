"""The trained network of a recipe or of a run, for compression."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd.data.augmentation import RandomAffine
from pyro_vd.data.dataset import Arrays, Dataset
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.workflow.compress_data import SHARE
from pyro_vd.workflow.compress_identity import claim
from pyro_vd.workflow.finished_run import load_run, run_pruned
from pyro_vd.workflow.measuring import file_info, names_of
from pyro_vd.workflow.pretraining import pretrain
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_files import recipe_text
from pyro_vd.workflow.recipe_network import recipe_network
from pyro_vd.workflow.run_folder import checkpoint_of
from pyro_vd.workflow.run_lock import only_process


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network with its data, as :func:`~pyro_vd.compress` takes them."""

    net: nn.Module
    likelihood: Likelihood
    data: Dataset
    """The training data, without those of validation, and the test data."""
    validation: Arrays | None
    augment: RandomAffine | None
    info: dict[str, Any]
    """What a file of the compressed network says of its data."""


def of_recipe(recipe: Recipe, folder: Path, resume: bool, progress: bool) -> TrainedNetwork:
    """Carry out the first phase of a recipe, the training without noise on the weights.

    Args:
        recipe: the recipe.
        folder: for the checkpoint.
        resume: whether to go on from it.
        progress: whether to show progress bars.

    Raises:
        InputError: the recipe has no such phase, or starts from a run; or see :func:`~pyro_vd.train_run`.
    """
    if (start := recipe.train.start_from) is not None:
        allowed = "null in a compression; to compress the pruned network of a run, give its folder in place of the recipe"
        raise InputError(name="train.start_from", value=start, allowed=allowed)
    if not recipe.pretrain.epochs:
        allowed = "at least 1: the network is trained before it is compressed"
        raise InputError(name="pretrain.epochs", value=recipe.pretrain.epochs, allowed=allowed)
    recipe = recipe.from_anywhere()
    share = recipe.data.validation or SHARE  # held out before the training, so that it is not done on them
    made = recipe_network(recipe, share)
    recipe, data, train, validation = made.recipe, made.data, made.train, made.validation
    options: dict[str, Any] = {"device": recipe.torch_device(), "augment": recipe.augmentation}
    options |= {"resume": resume, "progress": progress}
    with only_process(folder):
        claim(folder / "pretraining.txt", {"recipe": f"\n{recipe_text(recipe)}"}, resume)
        options |= {"checkpoint": checkpoint_of(folder, "pretrain"), "phase": "pretrain", **recipe.pretrain.fit_options()}
        net, _ = pretrain(recipe, made.net, made.likelihood, train, validation, options)
    info = file_info(recipe, math.inf, made.likelihood, names_of(data))
    return TrainedNetwork(net, made.likelihood, _training_part(data, train), validation, recipe.augmentation, info)


def of_run(folder: Path, data_dir: str | None) -> TrainedNetwork:
    """Read the pruned network of a finished run, and its data.

    Raises:
        InputError: see :func:`~pyro_vd.load_run`.
    """
    run = load_run(folder, data_dir)
    info = file_info(run.recipe, math.inf, run.model.likelihood, names_of(run.data))
    data, likelihood = _training_part(run.data, run.train), run.model.likelihood
    return TrainedNetwork(run_pruned(folder), likelihood, data, run.validation, run.recipe.augmentation, info)


def _training_part(data: Dataset, train: Arrays) -> Dataset:
    """The data with a part of their training data, and with their names."""
    return replace(data, x_train=train[0], y_train=train[1])
