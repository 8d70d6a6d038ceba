"""Observations and predictions as variables for the groups of ArviZ data: one variable ``y``, or one per head, ``y.<head>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from pyro_vd.evaluation.class_labels import is_classes
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.scores import expected, log_likelihood
from pyro_vd.evaluation.structured import WEIGHT, has_weights, heads_of, unweighted, without_weights
from pyro_vd.inference.joint_draws import OBSERVED

Variables = dict[str, tuple[Tensor, Sequence[str]]]
"""Tensors by name, each with the names of its first dimensions; see :func:`~pyro_vd.posterior.arviz_groups.dataset`."""


def observe(distribution: Distribution, y: Any) -> Draws:
    """Return what is kept of each draw, per example: log likelihood, a sample, and class probabilities or the mean.

    The names are ``log_likelihood``, and ``sample``, ``probability`` and ``mean``; of several heads also those of each head, as
    in ``sample.<head>``.
    """
    found = {"log_likelihood": log_likelihood(distribution, y)}
    for head, part in heads_of(distribution).items():
        observed = unweighted(part, None)[0]
        end = f".{head}" if head else ""
        found[f"sample{end}"] = observed.sample()
        found[f"{'probability' if is_classes(observed) else 'mean'}{end}"] = expected(observed)
        if head and head in y:
            found[f"log_likelihood{end}"] = log_likelihood(part, y[head])
    return {name: value.cpu() for name, value in found.items()}


def predictions(found: Draws) -> Variables:
    """Return the variables of the group ``posterior_predictive``, from all draws of :func:`observe`."""
    variables: Variables = {}
    for name, value in found.items():
        kind, _, head = name.partition(".")
        variable = _variable(head)
        if kind == "sample":
            variables[variable] = value, ["example"]
        elif kind == "probability":
            variables[f"{variable}_probability"] = value, _class_dimensions(variable, value.ndim - 1)
        elif kind == "mean":
            variables[f"{variable}_mean"] = value, ["example"]
    return variables


def log_likelihoods(found: Draws) -> Variables:
    """Return the variables of the group ``log_likelihood``, from all draws of :func:`observe`."""
    kept = {name: value for name, value in found.items() if name.partition(".")[0] == "log_likelihood"}
    return {_variable(name.partition(".")[2]): (value, ["example"]) for name, value in kept.items()}


def observations(y: Any) -> Variables:
    """Return the variables of the group ``observed_data``: observations without their weights."""
    return {name: (without_weights(part)[0], ["example"]) for name, part in _by_variable(y).items()}


def weights_of(y: Any) -> Variables:
    """Return the weights of examples as variables ``y_weight``; there are none where all examples count once."""
    found = {name: without_weights(part)[1] for name, part in _by_variable(y).items()}
    return {f"{name}_{WEIGHT}": (weight, ["example"]) for name, weight in found.items() if weight is not None}


def _variable(head: str) -> str:
    return f"{OBSERVED}.{head}" if head else OBSERVED


def _by_variable(y: Any) -> dict[str, Any]:
    """Return the observations of each head by the name of its variable; weighted observations are those of one head."""
    if isinstance(y, Mapping) and not has_weights(y):
        return {_variable(head): part for head, part in y.items()}
    return {OBSERVED: y}


def _class_dimensions(variable: str, ndim: int) -> list[str]:
    """Return the names of the dimensions of class probabilities: the example, the positions as those of ``y``, the class."""
    positions = [f"{variable}_dim_{k}" for k in range(ndim - 2)]
    return ["example", *positions, "class" if variable == OBSERVED else f"{variable}_class"]
