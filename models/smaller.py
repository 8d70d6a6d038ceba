"""A Bayesian network over a smaller network, as compaction makes it, in the middle of a training."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd.distributions.priors import prior_of_some
from pyro_vd.models.bayesian import BayesianNetwork


def check_can_shrink(model: BayesianNetwork) -> None:
    """Refuse a model of which it is not known what it does with the inputs and with the weights of a smaller network.

    Raises:
        InputError: a method of the forward pass is the user's own.
    """
    own = [name for name in ("forward", "sample_output", "output") if getattr(type(model), name) is not _METHODS[name]]
    if own:
        raise InputError(
            f"shrink (=True) needs a model whose {own[0]} is that of BayesianNetwork; {type(model).__name__} has its own, "
            "which may depend on sizes that change",
            name="shrink",
            value=True,
            allowed=f"False with {type(model).__name__}",
        )


_METHODS = {name: getattr(BayesianNetwork, name) for name in ("forward", "sample_output", "output")}


def smaller_model(model: BayesianNetwork, net: nn.Module) -> BayesianNetwork:
    """Return a model with the sites, priors, modes and likelihood of another, whose network is ``net``.

    The likelihood is the same object, whose parameters both models have. So is the watch on first gradients.

    Args:
        model: the other model, which is not changed.
        net: an ordinary network with the modules and parameters of ``model.to_module``, of other sizes; it is taken as it is.

    Raises:
        InputError: a prior is not one that depends on the shape of a weight alone.
    """
    memo: dict[int, Any] = {id(each): each for each in (model.likelihood, model.gradient_watch)}
    made = copy.deepcopy(model, memo | {id(model._modules["net"]): net})
    made.take_smaller(net)
    weights = made.initial_weights
    made.priors = {name: prior_of_some(name, model.prior(name), weights[name].shape) for name in weights}
    return made.train(model.training)
