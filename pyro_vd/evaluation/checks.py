"""Checks of data against a network and its likelihood; each error quotes the value and says what is allowed."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from pyro_vd._core.arrays import check_arrays, check_finite, check_shape, tensor_of
from pyro_vd._core.errors import InputError
from pyro_vd.data.dataset import Dataset, Part, pair_of
from pyro_vd.evaluation.observations import (
    Observed,
    check_likelihood,
    check_observations,
    distribution_of,
)
from pyro_vd.networks.checks import dtype_of
from pyro_vd.networks.markers import ModelMarker
from pyro_vd.networks.modes import in_evaluation_mode


def check_network(
    name: str,
    data: Any,
    net: nn.Module,
    likelihood: Observed | None = None,
    batch: int | None = None,
    part: Part | None = None,
) -> tuple[Tensor, Tensor]:
    """Return inputs and observations as tensors, after running the network on some of the inputs.

    The observations have the type and shape that the likelihood needs: see
    :func:`~pyro_vd.evaluation.observations.check_observations`.

    Args:
        name: what the data are called in an error.
        data: inputs and observations; see :func:`~pyro_vd.data.dataset.pair_of`.
        net: the network.
        likelihood: maps the network's output to the distribution of the observations; None for classes from logits.
        batch: how many examples to run if the network cannot run two; None for all.
        part: the part of a data set that is taken.

    Raises:
        InputError: the data are not valid (see :func:`~pyro_vd._core.arrays.check_arrays`); they do not fit the network or the
            likelihood; or ``likelihood`` is not a likelihood.
    """
    check_likelihood(likelihood)
    x, y = tensors_of(name, data, net, part)
    return x, check_observations(name, y, likelihood, output_of_some(name, x, net, likelihood, batch))


def check_inputs(name: str, x: Any, net: nn.Module) -> Tensor:
    """Return inputs as a tensor, after running the network on some of them.

    Raises:
        InputError: the inputs are not a tensor or array; are empty; are not finite; or are of another floating-point type or
            shape than the network's.
    """
    x = tensor_of(name, x.x_test if isinstance(x, Dataset) else x, dtype_of(net))
    check_shape(name, x)
    check_finite(name, "inputs", x)
    output_of_some(name, x, net)
    return x


def tensors_of(name: str, data: Any, net: nn.Module, part: Part | None) -> tuple[Tensor, Tensor]:
    """Return inputs and observations as tensors; see :func:`check_network`, which also runs the network."""
    x, y = pair_of(name, data, part, dtype_of(net))
    check_arrays(name, x, y)
    return x, y


@torch.no_grad()
def output_of_some(
    name: str, x: Tensor, net: nn.Module, likelihood: Observed | None = None, batch: int | None = None
) -> Tensor:
    """Run the network on the first inputs, in evaluation mode; a Bayesian network runs with its initial weights.

    The output is that of the first two inputs, or of the first ``batch`` inputs (all for None) if the network or the likelihood
    cannot run with two.

    Raises:
        InputError: the inputs do not fit the network, or its output does not fit the likelihood.
    """
    kept = [*net.parameters(), *net.buffers()]
    kinds = {tensor.dtype for tensor in kept if tensor.is_floating_point()}
    free = not x.is_floating_point() or torch.is_autocast_enabled(x.device.type)
    if kinds and x.dtype not in kinds and not free:
        raise InputError(
            f"{name}: inputs of type {x.dtype}, a network of {', '.join(map(str, kinds))}; convert one of them",
            name=name,
            value=x.dtype,
            allowed=" or ".join(map(str, kinds)),
        )
    weights = cast(Any, net).initial_weights if isinstance(net, ModelMarker) else None
    sizes = sorted({min(2, len(x)), min(batch or len(x), len(x))})
    for size in sizes:
        first = x[:size].to(kept[0].device) if kept else x[:size]
        shape = tuple(x.shape[1:])
        what = f"inputs of shape {shape} do not fit the network"
        try:
            with in_evaluation_mode(net):
                output: object = net(first) if weights is None else cast(Any, net).output(weights, first)
            if isinstance(output, Tensor):
                shape = tuple(output.shape)
                what = f"the network's output of shape {shape} does not fit the likelihood"
                rows = output.shape if likelihood is None else distribution_of(likelihood, output).batch_shape
                if rows[:1] == (size,):
                    break
        except InputError:
            raise
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if size == sizes[-1]:
                raise InputError(f"{name}: {what}: {str(error).splitlines()[0]}", name=name, value=shape) from error
    if not isinstance(output, Tensor):
        raise InputError(
            f"{name}: the network's output is a {type(output).__name__}; it must be one tensor",
            name=name,
            value=type(output).__name__,
            allowed="one tensor",
        )
    return output
