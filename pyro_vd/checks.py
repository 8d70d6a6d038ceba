"""Checks of what a user gives: each error quotes the value and says what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vd.arrays import check_arrays, check_finite, check_shape, tensor_of
from pyro_vd.dataset import Dataset, Part, pair_of
from pyro_vd.errors import InputError
from pyro_vd.generators import generators_kept
from pyro_vd.modes import in_evaluation_mode
from pyro_vd.objects import check_likelihood, check_module
from pyro_vd.observations import Observed, base_distribution, check_observations, distribution_of, is_classes

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork


def check_state(name: str, tensors: Mapping[str, Tensor], module: nn.Module) -> None:
    """Refuse tensors that do not fill ``module`` exactly, by name, shape and kind of number, or that are not finite.

    What is not finite there already, as −∞ in a causal mask, may be the same here. What a module has as ``optional_state``, as
    the masks of a guide, may be there or not.

    Raises:
        InputError: naming those that do not fit, or are not finite.
    """
    own = module.state_dict()
    for path, part in module.named_modules():
        optional = {f"{path}.{name}".lstrip("."): like for name, like in getattr(part, "optional_state", {}).items()}
        own |= {key: like for key, like in optional.items() if key in tensors}
    check_kinds(name, tensors, own)
    if broken := [key for key, tensor in tensors.items() if _is_broken(tensor, own[key])]:
        raise InputError(f"{name} holds NaN or infinite values in {', '.join(broken)}; all must be finite")


def check_kinds(name: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not the same as a network's ``own`` by name, shape and kind of number.

    Raises:
        InputError: naming those that do not fit.
    """
    given, wanted = ({key: _kind(tensor) for key, tensor in state.items()} for state in (tensors, own))
    if given != wanted:
        wrong = [key for key in {**wanted, **given} if given.get(key) != wanted.get(key)]
        listed = "; ".join(f"{key} is {given.get(key, 'missing')}, not {wanted.get(key, 'wanted')}" for key in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(f"{name} is of another architecture: {listed}{more}")


def _is_broken(tensor: Tensor, own: Tensor) -> bool:
    bad = ~torch.isfinite(tensor)
    return bool(bad.any()) and (own.is_meta or not torch.equal(tensor[bad], own.to(tensor)[bad]))


def _kind(tensor: Tensor) -> str:
    return f"{'float' if tensor.is_floating_point() else str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def check_data(
    name: str, data: Any, model: BayesianNetwork, batch: int | None = None, part: Part | None = None
) -> tuple[Tensor, Tensor]:
    """Inputs and observations as tensors, after :func:`check_arrays` and a try of the model, with its own weights.

    Args:
        name: what they are called in an error.
        data: see :func:`~pyro_vd.dataset.pair_of`.
        model: the Bayesian network.
        batch: what is tried where the network does not take two examples; None for all.
        part: of a data set; None refuses a whole one.

    Raises:
        InputError: also where the network cannot take the inputs, or the model's likelihood not the observations; see
            :func:`~pyro_vd.observations.check_observations`.
    """
    x, y = _tensors(name, data, model, part)
    output = _output_of_some(name, x, model, model.observed, batch)
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


def check_network(
    name: str,
    data: Any,
    net: nn.Module | BayesianNetwork,
    likelihood: Observed | None = None,
    batch: int | None = None,
    part: Part | None = None,
) -> tuple[Tensor, Tensor]:
    """Inputs and observations as tensors, after :func:`check_arrays` and a try of a network.

    The observations are as the likelihood takes them: see :func:`~pyro_vd.observations.check_observations`.

    Raises:
        InputError: as :func:`check_data`.
    """
    check_likelihood(likelihood)
    x, y = _tensors(name, data, net, part)
    return x, check_observations(name, y, likelihood, _output_of_some(name, x, net, likelihood, batch))


def check_inputs(name: str, x: Any, net: nn.Module | BayesianNetwork) -> Tensor:
    """Inputs as a tensor, after a try of the network.

    Raises:
        InputError: no tensor or array; no inputs; not finite, of another floating-point type than the network, or of another
            shape.
    """
    x = tensor_of(name, x.x_test if isinstance(x, Dataset) else x, _dtype_of(net))
    check_shape(name, x)
    check_finite(name, "inputs", x)
    _output_of_some(name, x, net)
    return x


def _tensors(name: str, data: Any, net: nn.Module | BayesianNetwork, part: Part | None) -> tuple[Tensor, Tensor]:
    x, y = pair_of(name, data, part, _dtype_of(net))
    check_arrays(name, x, y)
    return x, y


def _dtype_of(net: nn.Module) -> torch.dtype:
    """The network's floating-point type, which inputs that are no tensors come in."""
    tensors = (tensor.dtype for tensor in (*net.parameters(), *net.buffers()) if tensor.is_floating_point())
    return next(tensors, torch.get_default_dtype())


def _as_the_model_observes(model: BayesianNetwork, x: Tensor) -> Observed:
    """A likelihood that may use what its model draws: run in the model on some inputs, with its own weights."""
    import pyro.poutine as poutine

    from pyro_vd.handlers import own_parameters  # needs Pyro

    def observation(output: Tensor) -> Distribution:
        device = next(iter(model.initial_weights.values())).device
        first = x[: len(output)].to(device)
        conditioned = poutine.condition(model, data=model.initial_weights)
        with generators_kept(device), own_parameters(), in_evaluation_mode(model):
            found: Distribution = poutine.trace(conditioned).get_trace(first).nodes["y"]["fn"]
        return found

    return observation


@torch.no_grad()
def _output_of_some(
    name: str, x: Tensor, net: nn.Module | BayesianNetwork, likelihood: Observed | None = None, batch: int | None = None
) -> Tensor:
    """The output for the first inputs, in evaluation mode; of a model, with the weights that it came with.

    For two of them, or for a whole batch (all, if that is None) where the network or the likelihood does not take two.
    """
    kept = [*net.parameters(), *net.buffers()]
    kinds = {tensor.dtype for tensor in kept if tensor.is_floating_point()}
    free = not x.is_floating_point() or torch.is_autocast_enabled(x.device.type)
    if kinds and x.dtype not in kinds and not free:
        raise InputError(f"{name}: inputs of type {x.dtype}, a network of {', '.join(map(str, kinds))}; convert one of them")
    weights = getattr(net, "initial_weights", None)
    sizes = sorted({min(2, len(x)), min(batch or len(x), len(x))})
    for size in sizes:
        first = x[:size].to(kept[0].device) if kept else x[:size]
        what = f"inputs of shape {tuple(x.shape[1:])} do not fit the network"
        try:
            with in_evaluation_mode(net):
                output: object = net(first) if weights is None else cast("BayesianNetwork", net).output(weights, first)
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


def check_example(net: Any, example: Any) -> Tensor:
    """Example inputs of a network as a tensor.

    Raises:
        InputError: no network, or no tensor or array.
    """
    check_module("net", net)
    return tensor_of("example", example, _dtype_of(net))
