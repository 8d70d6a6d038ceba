"""Checks of data against a network and its likelihood: each error quotes the value and says what is allowed."""

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
    """Inputs and observations as tensors, after :func:`~pyro_vd._core.arrays.check_arrays` and a try of a network.

    The observations are as the likelihood takes them: see :func:`~pyro_vd.evaluation.observations.check_observations`.

    Raises:
        InputError: data that do not fit the network, or observations that do not fit the likelihood.
    """
    check_likelihood(likelihood)
    x, y = tensors_of(name, data, net, part)
    return x, check_observations(name, y, likelihood, output_of_some(name, x, net, likelihood, batch))


def check_inputs(name: str, x: Any, net: nn.Module) -> Tensor:
    """Inputs as a tensor, after a try of the network.

    Raises:
        InputError: no tensor or array; no inputs; not finite, of another floating-point type than the network, or of another
            shape.
    """
    x = tensor_of(name, x.x_test if isinstance(x, Dataset) else x, dtype_of(net))
    check_shape(name, x)
    check_finite(name, "inputs", x)
    output_of_some(name, x, net)
    return x


def tensors_of(name: str, data: Any, net: nn.Module, part: Part | None) -> tuple[Tensor, Tensor]:
    x, y = pair_of(name, data, part, dtype_of(net))
    check_arrays(name, x, y)
    return x, y


@torch.no_grad()
def output_of_some(
    name: str, x: Tensor, net: nn.Module, likelihood: Observed | None = None, batch: int | None = None
) -> Tensor:
    """The output for the first inputs, in evaluation mode; of a model, with the weights that it came with.

    For two of them, or for a whole batch (all, if that is None) where the network or the likelihood does not take two.
    """
    kept = [*net.parameters(), *net.buffers()]
    kinds = {tensor.dtype for tensor in kept if tensor.is_floating_point()}
    free = not x.is_floating_point() or torch.is_autocast_enabled(x.device.type)
    if kinds and x.dtype not in kinds and not free:
        raise InputError(f"{name}: inputs of type {x.dtype}, a network of {', '.join(map(str, kinds))}; convert one of them")
    weights = cast(Any, net).initial_weights if isinstance(net, ModelMarker) else None
    sizes = sorted({min(2, len(x)), min(batch or len(x), len(x))})
    for size in sizes:
        first = x[:size].to(kept[0].device) if kept else x[:size]
        what = f"inputs of shape {tuple(x.shape[1:])} do not fit the network"
        try:
            with in_evaluation_mode(net):
                output: object = net(first) if weights is None else cast(Any, net).output(weights, first)
            if isinstance(output, Tensor):
                what = f"the network's output of shape {tuple(output.shape)} does not fit the likelihood"
                rows = output.shape if likelihood is None else distribution_of(likelihood, output).batch_shape
                if rows[:1] == (size,):
                    break
        except InputError:
            raise
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if size == sizes[-1]:
                raise InputError(f"{name}: {what}: {str(error).splitlines()[0]}") from error
    if not isinstance(output, Tensor):
        raise InputError(f"{name}: the network's output is a {type(output).__name__}; it must be one tensor")
    return output
