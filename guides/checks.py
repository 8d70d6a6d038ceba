"""Checks of networks, likelihoods, models and guides that a user gives: a sentence where something else is in their place."""

from __future__ import annotations

from typing import Any

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError


def check_hold(hold: Any, guide: object) -> float | None:
    """``hold`` as a number, or None; see :class:`~pyro_vd.inference.reparam.LocalReparameterization`.

    Raises:
        InputError: no number in [−100, 100]; or the guide learns no α, so that it would hold nothing.
    """
    if hold is None:
        return None
    number = check_number("hold", hold, low=-100, high=100)
    if guide is not None and not getattr(guide, "learns_alpha", False):
        raise InputError(f"hold (={number}) must be None with {type(guide).__name__}, which learns no α to hold means by")
    return number


def check_model(model: object) -> None:
    """Refuse what is no Bayesian network.

    Raises:
        InputError: naming what was given and what is wanted.
    """
    if isinstance(model, type) or not hasattr(model, "initial_weights"):
        raise InputError(
            f"model is a {type(model).__name__}; it must be a BayesianNetwork: BayesianNetwork(net) makes one, and a subclass "
            "may have a forward of its own; other models are trained with VariationalDropoutELBO"
        )


def check_guide(guide: object) -> None:
    """Refuse what is no guide over weights.

    Raises:
        InputError: naming what was given and what is wanted.
    """
    if isinstance(guide, type) or not hasattr(guide, "site_names"):
        raise InputError(
            f"guide is a {type(guide).__name__}; it must be one of the model's, such as VariationalDropout(model), "
            "to which guides of other sites are added: guide.append(autoguide)"
        )


def check_pair(model: Any, guide: Any) -> None:
    """Refuse a model and a guide that are none, or not of one network; the guide of a copy becomes that of this model.

    Raises:
        InputError: naming what was given and what is wanted.
    """
    check_model(model)
    check_guide(guide)
    wanted = {name: tuple(weight.shape) for name, weight in model.initial_weights.items()}
    given = {name: tuple(guide.site(name).theta.shape) for name in guide.site_names}
    if given != wanted:
        raise InputError(f"the guide is of another network: its weights are {given}, the model's {wanted}")
    if guide.model_identity != model.identity:
        raise InputError(
            f"the {type(guide).__name__} was made for another {type(model).__name__}, with other biases; make a guide for this "
            "one, or go on with the model that it was made for"
        )
    guide.__dict__["model"] = model  # a copy of a guide alone has come with a copy of its model
