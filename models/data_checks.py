"""Checks of data against a Bayesian model; each error quotes the value and says what is allowed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pyro.poutine as poutine
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd.data.dataset import Arrays, Part
from pyro_vd.evaluation.checked_batches import CheckedBatches, checked_batches
from pyro_vd.evaluation.checks import output_of_some, tensors_of
from pyro_vd.evaluation.class_labels import base_distribution, is_classes
from pyro_vd.evaluation.observations import Observed, check_observations
from pyro_vd.evaluation.selection import of_part
from pyro_vd.inference.handlers import own_parameters
from pyro_vd.inference.joint_draws import OBSERVED
from pyro_vd.networks.checks import dtype_of
from pyro_vd.networks.inputs import Inputs, num_examples, rows, to_device
from pyro_vd.networks.modes import in_evaluation_mode

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork

logger: logging.Logger = logging.getLogger(__name__)


def check_data(name: str, data: Any, model: BayesianNetwork, batch: int | None = None, part: Part | None = None) -> Arrays:
    """Return inputs and observations as tensors, after a trial run of the model with its own weights.

    Args:
        name: what an error calls the data.
        data: inputs and observations, or a data set; see :func:`~pyro_vd.data.dataset.pair_of`.
        model: the Bayesian network.
        batch: the number of examples to try where the network does not take two; None for all.
        part: the part of a data set to take; None refuses a data set.

    Raises:
        InputError: the data are not arrays of equal length, see :func:`~pyro_vd.networks.input_checks.check_pair`; the network
            cannot take the inputs; or the model's likelihood cannot take the observations, see
            :func:`~pyro_vd.evaluation.observations.check_observations`.
    """
    x, y = tensors_of(name, data, model, part)
    output = output_of_some(name, x, model, model.observed, batch)
    likelihood = _as_the_model_observes(model, x) if of_part(model.observed) is None else model.observed
    y = check_observations(name, y, likelihood, output)
    if part == "train" and _are_labels(y) and _are_probabilities(output):
        logger.warning(
            "the network's outputs are probabilities, at least 0 and with the sum 1, where logits are taken: the likelihood "
            "makes probabilities of them itself. Leave out the network's last softmax, or hardly anything can be learnt"
        )
    return x, y


def _are_labels(y: Any) -> bool:
    return isinstance(y, Tensor) and y.dtype == torch.int64


def _are_probabilities(output: Any) -> bool:
    """Whether each row of an output is made of at least two probabilities."""
    if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[-1] < 2 or not output.is_floating_point():
        return False
    return bool((output >= 0).all()) and bool(((output.sum(-1) - 1).abs() < 1e-3).all())


def check_measured(name: str, data: Any, model: BayesianNetwork) -> Arrays:
    """Return inputs and observations as tensors, after :func:`check_data`, for a measurement of errors without the model.

    Args:
        name: what an error calls the data.
        data: inputs and observations; see :func:`~pyro_vd.data.dataset.pair_of`.
        model: the Bayesian network.

    Raises:
        InputError: see :func:`check_data`; or the model sets a function as its likelihood in ``forward``, and this observes
            anything but classes from logits. Such a function may depend on what the model draws, so that it cannot be called
            without the model.
    """
    x, y = check_data(name, data, model)
    if of_part(model.observed) is None and not is_classes(found := _as_the_model_observes(model, x)(x)):
        raise InputError(
            f"{name}: the likelihood is a function that forward sets, and gives a {type(base_distribution(found)).__name__}; "
            "errors are measured without the model, so the function must be given to the model, or the likelihood must be an "
            "nn.Module or another object with a method __call__",
            name="likelihood",
            value=model.likelihood,
        )
    return x, y


def check_held_out(name: str, data: Any, model: BayesianNetwork, target: str | None = None) -> Arrays | CheckedBatches:
    """Return data after :func:`check_measured`; of data that are read batch by batch, all batches are checked as they are read.

    Args:
        name: what an error calls the data.
        data: inputs and observations, or batches of them; see :func:`~pyro_vd.data.given.batches_from`.
        model: the Bayesian network.
        target: the key of the observations in a batch that is a mapping.

    Raises:
        InputError: see :func:`check_measured`, of the first batch.
    """

    def check(where: str, pair: Arrays) -> Arrays:
        return check_measured(where, pair, model)

    batches = checked_batches(name, data, check, dtype_of(model), target)
    if batches is None:
        return check_measured(name, data, model)
    next(iter(batches))
    return batches


def _as_the_model_observes(model: BayesianNetwork, x: Inputs) -> Observed:
    """Return a likelihood that runs the model's own likelihood inside the model, on the first of ``x`` and with own weights."""

    def observation(output: Any) -> Distribution:
        device = next(iter(model.initial_weights.values())).device
        first = to_device(rows(x, slice(num_examples(output))), device)
        conditioned = poutine.condition(model, data=model.initial_weights)
        with generators_kept(device), own_parameters(), in_evaluation_mode(model):
            found: Distribution = poutine.trace(conditioned).get_trace(first).nodes[OBSERVED]["fn"]
        return found

    return observation
