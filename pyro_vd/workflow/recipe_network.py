"""What a recipe becomes before anything is trained: its data, and its network with random weights."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass

import pyro
import torch
from torch import nn

from pyro_vd.data.dataset import Arrays, Dataset
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.workflow.finished_run import checked
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_data import data_of, described, resolved


@dataclass(frozen=True)
class RecipeNetwork:
    """A recipe, and what was made of it."""

    recipe: Recipe
    """With what its data say in the place of ``auto``."""
    data: Dataset
    """With observations as the likelihood takes them."""
    net: nn.Module
    likelihood: Likelihood
    train: Arrays
    validation: Arrays | None


def recipe_network(recipe: Recipe, validation: float, announce: bool = False) -> RecipeNetwork:
    """Load the data of a recipe, and make its network; torch's generator and number of threads are then the recipe's.

    Args:
        recipe: of any folder; see :meth:`Recipe.from_anywhere`.
        validation: how many of the training examples are held out.
        announce: whether to print on standard error what the recipe makes of data of the user's own.

    Raises:
        InputError: there are no such data, or they do not fit the network.
    """
    torch.set_num_threads(recipe.threads)
    data = data_of(recipe)
    was_open, recipe = recipe.model.is_open, resolved(recipe, data)
    if was_open and announce:
        print(described(recipe, data), file=sys.stderr)
    pyro.set_rng_seed(recipe.seed)
    net = recipe.model.build(train=data.split(validation)[0] if recipe.model.learns_scales else None)
    likelihood = recipe.model.build_likelihood(net)
    data = checked(data, recipe.model.bayesian(copy.deepcopy(net), copy.deepcopy(likelihood)))
    return RecipeNetwork(recipe, data, net, likelihood, *data.split(validation))
