"""Pretraining: the first phase of a run, without noise on the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from pyro_vd._core.storage import load_checkpoint
from pyro_vd.data.dataset import Arrays
from pyro_vd.guides import PointEstimate
from pyro_vd.guides.means import posterior_mean
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.networks.checks import check_state
from pyro_vd.training.fit_result import FitResult
from pyro_vd.training.fitting import fit
from pyro_vd.workflow.measuring import Fitted
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
    result = fit(guide := _guide(recipe, noisy, likelihood), train, validation, **options)
    return _filled(net, guide), result


def pretrained_in(path: Path, recipe: Recipe) -> Fitted:
    """Return the network that a finished pretraining has left in its checkpoint, and its likelihood.

    Raises:
        InputError: the file is missing or broken, or is of another network.
    """
    saved = load_checkpoint(path)
    net = recipe.model.build()
    likelihood = recipe.model.build_likelihood(net)
    guide = _guide(recipe, recipe.model.build(recipe.pretrain.dropout), likelihood)
    both = nn.ModuleDict({"model": guide.model, "guide": guide})
    check_state(str(path), state := saved.get("best") or saved.get("module") or {}, both)
    both.load_state_dict(state)
    return _filled(net, guide), likelihood


def _guide(recipe: Recipe, noisy: nn.Module, likelihood: Likelihood) -> PointEstimate:
    named = recipe.model.class_ is not None  # without one, dropout changes the names, and every layer is a known one
    include, exclude = (recipe.model.include, recipe.model.exclude) if named else ([], [])
    return PointEstimate(BayesianNetwork(noisy, likelihood, include=include, exclude=exclude))


def _filled(net: nn.Module, guide: PointEstimate) -> nn.Module:
    trained = posterior_mean(guide).cpu()
    net.load_state_dict(dict(zip(net.state_dict(), trained.state_dict().values(), strict=True)))
    return net
