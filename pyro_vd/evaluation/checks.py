"""Checks of data against a network and its likelihood; each error quotes the value and says what is allowed."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.data.dataset import Arrays, Dataset, Part, pair_of
from pyro_vd.evaluation.observations import Observed, check_likelihood, check_observations, distribution_of
from pyro_vd.evaluation.selection import of_part, part_of
from pyro_vd.networks.checks import dtype_of
from pyro_vd.networks.input_checks import check_inputs_given, check_pair, check_types, inputs_of
from pyro_vd.networks.inputs import Inputs, num_examples, rows, run_apart, shapes_of, tensors_in, to_device
from pyro_vd.networks.markers import ModelMarker
from pyro_vd.networks.modes import in_evaluation_mode


def check_network(
    name: str,
    data: Any,
    net: nn.Module,
    likelihood: Observed | None = None,
    batch: int | None = None,
    part: Part | None = None,
) -> Arrays:
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
        InputError: the data are not valid (see :func:`~pyro_vd.networks.input_checks.check_pair`); they do not fit the network
            or the likelihood; or ``likelihood`` is not a likelihood.
    """
    check_likelihood(likelihood)
    x, y = tensors_of(name, data, net, part)
    return x, check_observations(name, y, likelihood, output_of_some(name, x, net, likelihood, batch))


def check_inputs(name: str, x: Any, net: nn.Module, likelihood: Observed | None = None) -> Inputs:
    """Return inputs as tensors, in their form, after running the network on some of them.

    Args:
        name: what the inputs are called in an error.
        x: inputs; of a data set, the test inputs.
        net: the network.
        likelihood: says which part of the network's output is taken; None for an output that is one tensor.

    Raises:
        InputError: the inputs are not tensors or arrays; are empty; are not finite; or are of another floating-point type or
            shape than the network's.
    """
    x = inputs_of(name, x.x_test if isinstance(x, Dataset) else x, dtype_of(net))
    check_inputs_given(name, x)
    output_of_some(name, x, net, likelihood)
    return x


def tensors_of(name: str, data: Any, net: nn.Module, part: Part | None) -> Arrays:
    """Return inputs and observations as tensors; see :func:`check_network`, which also runs the network."""
    x, y = pair_of(name, data, part, dtype_of(net))
    check_pair(name, x, y)
    return x, y


@torch.no_grad()
def output_of_some(name: str, x: Inputs, net: nn.Module, likelihood: Observed | None = None, batch: int | None = None) -> Any:
    """Run the network on a few inputs, in evaluation mode; a Bayesian network runs with its initial weights.

    The result is the part of the output that the likelihood takes, of two inputs, or of ``batch`` inputs (all for None) if the
    network or the likelihood cannot run with two. Of integers, the example with the largest one is among them.

    Raises:
        InputError: the inputs do not fit the network, or its output does not fit the likelihood.
    """
    kept = [*net.parameters(), *net.buffers()]
    check_types(name, x, {tensor.dtype for tensor in kept if tensor.is_floating_point()})
    weights = cast(Any, net).initial_weights if isinstance(net, ModelMarker) else None
    n = num_examples(x)
    sizes = sorted({min(2, n), min(batch or n, n)})
    highest = _highest(x)
    for size in sizes:
        first = to_device(_some(x, size, highest), kept[0].device if kept else None)
        shape = shapes_of(rows(x, 0))
        what = f"inputs of shape {shape} do not fit the network"
        if highest is not None:
            types = ", ".join(str(tensor.dtype) for tensor in tensors_in(x))
            what = f"{what}, or their types {types} and numbers up to {highest[1]} do not"
        try:
            with in_evaluation_mode(net):
                output = part_of(
                    likelihood, run_apart(net, first) if weights is None else cast(Any, net).output(weights, first)
                )
            shape = shapes_of(output)
            what = f"the network's output of shape {shape} does not fit the likelihood"
            is_logits = of_part(likelihood) is None and isinstance(output, Tensor)
            found = output.shape if is_logits else distribution_of(likelihood, output).batch_shape
            if found[:1] == (size,):
                break
        except InputError:
            raise
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if size == sizes[-1]:
                why = f"{what}: {str(error).splitlines()[0]}{_hint(x)}"
                raise InputError(f"{name}: {why}", name=name, value=shape) from error
    return output


def _hint(x: Inputs) -> str:
    """What to do with images of bytes, which no layer takes as numbers."""
    has_bytes = any(tensor.dtype == torch.uint8 for tensor in tensors_in(x))
    return ". If these are images, give them as numbers in [0, 1]: x.float() / 255, or x / 255 of an array" if has_bytes else ""


def _highest(x: Inputs) -> tuple[int, int] | None:
    """The example with the largest integer, such as a token, which an embedding may not have, and that integer."""
    found = None
    for part in tensors_in(x):
        if not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool):
            of_example = part.reshape(len(part), -1).amax(1)
            example = int(of_example.argmax())
            if found is None or int(of_example[example]) > found[1]:
                found = example, int(of_example[example])
    return found


def _some(x: Inputs, size: int, highest: tuple[int, int] | None) -> Inputs:
    """The first examples; before them the one of :func:`_highest`."""
    return rows(x, slice(size) if highest is None else torch.tensor([highest[0], *range(size - 1)]))
