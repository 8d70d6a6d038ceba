"""Checks of networks, likelihoods, models and guides that a user gives: a sentence where something else is in their place."""

from __future__ import annotations

from pyro_vd._core.errors import InputError
from pyro_vd.networks.markers import GuideMarker, ModelMarker


def check_model(model: object) -> None:
    """Refuse what is no Bayesian network.

    Raises:
        InputError: naming what was given and what is wanted.
    """
    if not isinstance(model, ModelMarker):
        raise InputError(
            f"model is a {type(model).__name__}; it must be a BayesianNetwork: BayesianNetwork(net) makes one, and a subclass "
            "may have a forward of its own; other models are trained with VariationalDropoutELBO"
        )


def check_guide(guide: object) -> None:
    """Refuse what is no guide over weights.

    Raises:
        InputError: naming what was given and what is wanted.
    """
    if isinstance(guide, ModelMarker):
        raise InputError(f"guide is a {type(guide).__name__}, a model; give its guide, such as VariationalDropout(model)")
    if not isinstance(guide, GuideMarker):
        raise InputError(
            f"guide is a {type(guide).__name__}; it must be one of the model's, such as VariationalDropout(model), "
            "to which guides of other sites are added: guide.append(autoguide)"
        )
