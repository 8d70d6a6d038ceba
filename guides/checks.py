"""Checks that a value from a user is a Bayesian network or a guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.patterns import by_pattern
from pyro_vd.networks.markers import GuideMarker, ModelMarker


def check_model(model: object) -> None:
    """Refuse a value that is not a Bayesian network.

    Raises:
        InputError: naming the type of the value.
    """
    if not isinstance(model, ModelMarker):
        raise InputError(
            f"model is a {type(model).__name__}; it must be a BayesianNetwork, such as BayesianNetwork(net), or a subclass "
            "with another forward; train other models with VariationalDropoutELBO",
            name="model",
            value=model,
            allowed="a BayesianNetwork",
        )


def check_guide(guide: object) -> None:
    """Refuse a value that is not a guide over weights.

    Raises:
        InputError: naming the type of the value.
    """
    allowed = "a guide over weights, such as VariationalDropout(model)"
    if isinstance(guide, ModelMarker):
        message = f"guide is a {type(guide).__name__}, which is a model; it must be {allowed}"
        raise InputError(message, name="guide", value=guide, allowed=allowed)
    if not isinstance(guide, GuideMarker):
        raise InputError(
            f"guide is a {type(guide).__name__}; it must be one of the model's guides over weights, such as "
            "VariationalDropout(model); add guides of other sites by guide.append(autoguide)",
            name="guide",
            value=guide,
            allowed=allowed,
        )


def check_log_sigma2(value: Any) -> float | dict[str, float]:
    """Return a value for ``log_sigma2``, log σ² at the start: a number in [−60, 0], or such numbers by name or pattern.

    Raises:
        InputError: any other value.
    """
    if not isinstance(value, Mapping):
        return check_number("log_sigma2", value, low=-60, high=0)
    return {pattern: check_number("log_sigma2", each, low=-60, high=0) for pattern, each in value.items()}


def initial_log_sigma2(value: float | Mapping[str, float], model: Any) -> dict[str, float]:
    """Return log σ² at the start by site of a model, from one number for all, or from numbers by pattern.

    Raises:
        InputError: ``model`` is not a Bayesian network; a number is not in [−60, 0]; a pattern matches no name; or no pattern
            matches a name.
    """
    check_model(model)
    checked = check_log_sigma2(value)
    by_name = checked if isinstance(checked, dict) else {"*": checked}
    return by_pattern("log_sigma2", by_name, model.weight_names, complete=True)


def check_train_threshold(value: Any) -> float | None:
    """Return a value for ``train_threshold`` as a number in [−100, 100], or None.

    Raises:
        InputError: any other value.
    """
    return None if value is None else check_number("train_threshold", value, low=-100, high=100)
