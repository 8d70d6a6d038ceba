"""Pretraining: the first phase of a run, without noise on the weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from pyro_vd.data.dataset import Arrays
from pyro_vd.guides import PointEstimate
from pyro_vd.guides.means import posterior_mean
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.training.fit_result import FitResult
from pyro_vd.training.fitting import fit
from pyro_vd.workflow.recipe import Recipe


def pretrain(
    recipe: Recipe,
    net: nn.Module,
    likelihood: Likelihood,
    train: Arrays,
    validation: Arrays | None,
    options: dict[str, Any],
) -> tuple[nn.Module, FitResult]:
    """Train the network in place without noise on its weights, with ordinary dropout if the recipe has it, and return it."""
    noisy = recipe.model.build(recipe.pretrain.dropout)
    noisy.load_state_dict(dict(zip(noisy.state_dict(), net.state_dict().values(), strict=True)))
    named = recipe.model.class_ is not None  # without one, dropout changes the names, and every layer is a known one
    include, exclude = (recipe.model.include, recipe.model.exclude) if named else ([], [])
    guide = PointEstimate(BayesianNetwork(noisy, likelihood, include=include, exclude=exclude))
    result = fit(guide, train, validation, **options)
    trained = posterior_mean(guide).cpu()
    net.load_state_dict(dict(zip(net.state_dict(), trained.state_dict().values(), strict=True)))
    return net, result
