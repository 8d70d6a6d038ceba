"""Checks of data against a Bayesian model: each error quotes the value and says what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.distributions import Distribution

from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd.data.dataset import Part
from pyro_vd.evaluation.checks import output_of_some, tensors_of
from pyro_vd.evaluation.observations import (
    Observed,
    base_distribution,
    check_observations,
    is_classes,
)
from pyro_vd.networks.modes import in_evaluation_mode

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork


def check_data(
    name: str, data: Any, model: BayesianNetwork, batch: int | None = None, part: Part | None = None
) -> tuple[Tensor, Tensor]:
    """Inputs and observations as tensors, after a try of the model, with its own weights.

    They are checked by :func:`~pyro_vd._core.arrays.check_arrays` first.

    Args:
        name: what they are called in an error.
        data: see :func:`~pyro_vd.data.dataset.pair_of`.
        model: the Bayesian network.
        batch: what is tried where the network does not take two examples; None for all.
        part: of a data set; None refuses a whole one.

    Raises:
        InputError: also where the network cannot take the inputs, or the model's likelihood not the observations; see
            :func:`~pyro_vd.evaluation.observations.check_observations`.
    """
    x, y = tensors_of(name, data, model, part)
    output = output_of_some(name, x, model, model.observed, batch)
    likelihood = _as_the_model_observes(model, x) if model.observed is None else model.observed
    return x, check_observations(name, y, likelihood, output)


def check_measured(name: str, data: Any, model: BayesianNetwork) -> tuple[Tensor, Tensor]:
    """:func:`check_data` of data to measure errors on, outside of the model.

    Raises:
        InputError: also where a likelihood that is a function observes anything but classes from logits: it may depend on
            what the model draws, and cannot be asked alone.
    """
    x, y = check_data(name, data, model)
    if model.observed is None and not is_classes(found := _as_the_model_observes(model, x)(x)):
        raise InputError(
            f"{name}: the likelihood is a function and gives a {type(base_distribution(found)).__name__}; errors are measured "
            "without the model, so it must be an object: an nn.Module, or one of a class with __call__"
        )
    return x, y


def _as_the_model_observes(model: BayesianNetwork, x: Tensor) -> Observed:
    """A likelihood that may use what its model draws: run in the model on some inputs, with its own weights."""
    import pyro.poutine as poutine

    from pyro_vd.inference.handlers import own_parameters  # needs Pyro

    def observation(output: Tensor) -> Distribution:
        device = next(iter(model.initial_weights.values())).device
        first = x[: len(output)].to(device)
        conditioned = poutine.condition(model, data=model.initial_weights)
        with generators_kept(device), own_parameters(), in_evaluation_mode(model):
            found: Distribution = poutine.trace(conditioned).get_trace(first).nodes["y"]["fn"]
        return found

    return observation
