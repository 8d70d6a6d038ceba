"""Checks of what a user gives: each error quotes the value and says what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from pyro_vd.errors import InputError
from pyro_vd.modes import in_evaluation_mode
from pyro_vd.observations import Observed, check_observations, distribution_of

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork


def check_rate(name: str, p: float) -> None:
    """Refuse what is no dropout rate.

    Raises:
        InputError: outside [0, 1).
    """
    if not 0 <= p < 1:
        raise InputError(f"{name} (={p!r}) must be a dropout rate in [0, 1)")


def check_number(
    name: str, value: Any, *, low: float, high: float = math.inf, low_open: bool = False, whole: bool = False
) -> None:
    """Refuse a value that is not a finite number in [low, high], (low, high] if ``low_open``, or not an integer if ``whole``.

    Raises:
        InputError: quoting ``name``, the value and the range.
    """
    kind = int if whole else (int, float)
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if is_number and low <= value <= high and abs(value) != math.inf and not (low_open and value == low):
        return
    sign = ">" if low_open else ">="
    bounds = f"{sign} {low:.12g}" + ("" if high == math.inf else f" and <= {high:.12g}")
    raise InputError(f"{name} (={value!r}) must be {'an integer' if whole else 'a finite number'} {bounds}")


def check_device(name: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device (={name!r}) is unknown; it must be one of cpu, cuda, cuda:1, mps, …") from error
    try:
        torch.zeros(1, device=device).item()  # "meta" exists everywhere, and holds nothing
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device (={str(name)!r}) cannot be used here: {str(error).splitlines()[0].split('. ')[0]}") from error
    return device


def check_arrays(name: str, x: Tensor, y: Tensor) -> None:
    """Refuse inputs and observations that cannot be trained on whatever the network and its likelihood.

    Raises:
        InputError: none, or unequal numbers; inputs that are not floating point, or not finite.
    """
    _check_shape(name, x)
    if not x.is_floating_point():
        raise InputError(f"{name}: inputs of type {x.dtype}; they must be floating point")
    _check_finite(name, "inputs", x)
    if y.ndim == 0 or y.numel() == 0:
        raise InputError(
            f"{name}: labels of shape {tuple(y.shape)}; they must be (n,), or (n, …) of several numbers an example"
        )
    if len(x) != len(y):
        raise InputError(f"{name}: {len(x)} inputs and {len(y)} labels; there must be as many of each")
    _check_finite(name, "observations", y)


def _check_shape(name: str, x: Tensor) -> None:
    if x.ndim < 2 or x.numel() == 0:
        raise InputError(f"{name}: inputs of shape {tuple(x.shape)}; it must be (n, …), at least one number in each of n >= 1")


def _check_finite(name: str, what: str, values: Tensor) -> None:
    if not torch.isfinite(values).all():
        bad = ~torch.isfinite(values)
        first = bad.reshape(len(values), -1).any(1).nonzero()[0].item()
        raise InputError(f"{name}: {int(bad.sum())} NaN or infinite {what}, the first in example {first}; all must be finite")


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
    name: str, data: tuple[Tensor, Tensor], model: BayesianNetwork, batch: int | None = None
) -> tuple[Tensor, Tensor]:
    """``data``, after :func:`check_arrays` and a try of the network, on a batch of this size (all) where it does not take two.

    Raises:
        InputError: also where the network cannot take the inputs, or the model's likelihood not the observations; see
            :func:`~pyro_vd.observations.check_observations`.
    """
    return check_network(name, data, model, model.observed, batch)


def check_network(
    name: str,
    data: tuple[Tensor, Tensor],
    net: nn.Module | BayesianNetwork,
    likelihood: Observed | None = None,
    batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``data``, after :func:`check_arrays` and a try of a network, as :func:`check_data`.

    The observations are as the likelihood takes them: see :func:`~pyro_vd.observations.check_observations`.

    Raises:
        InputError: as :func:`check_data`.
    """
    if not (isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)):
        raise InputError(
            f"{name} is a {type(data).__name__}; it must be a pair of tensors, inputs and labels, as Dataset.split() and "
            "Dataset.test are"
        )
    x, y = data
    check_arrays(name, x, y)
    return x, check_observations(name, y, likelihood, _output_of_some(name, x, net, likelihood, batch))


def check_inputs(name: str, x: Tensor, net: nn.Module | BayesianNetwork) -> None:
    """Refuse what a network cannot take.

    Raises:
        InputError: no tensor; no inputs; not finite, of another floating-point type than the network, or of another shape.
    """
    if not isinstance(x, Tensor):
        raise InputError(f"{name} is a {type(x).__name__}; it must be a tensor of inputs, (n, …)")
    _check_shape(name, x)
    _check_finite(name, "inputs", x)
    _output_of_some(name, x, net)


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
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if size == sizes[-1]:
                raise InputError(f"{name}: {what}: {str(error).splitlines()[0]}") from error
    if not isinstance(output, Tensor):
        raise InputError(f"{name}: the network's output is a {type(output).__name__}; it must be one tensor")
    return output


def check_model(model: object) -> None:
    """Refuse what is no Bayesian network.

    Raises:
        InputError: naming what was given and what is wanted.
    """
    if not hasattr(model, "initial_weights"):
        raise InputError(
            f"model is a {type(model).__name__}; it must be a BayesianNetwork: BayesianNetwork(net) makes one, and a subclass "
            "may have a forward of its own; other models are trained with VariationalDropoutELBO"
        )


def check_pair(model: Any, guide: Any) -> None:
    """Refuse a model and a guide that are none, or not of one network.

    Raises:
        InputError: naming what was given and what is wanted.
    """
    check_model(model)
    if not hasattr(guide, "site_names"):
        raise InputError(
            f"guide is a {type(guide).__name__}; it must be one of the model's, such as VariationalDropout(model), "
            "to which guides of other sites are added: guide.append(autoguide)"
        )
    wanted = {name: tuple(weight.shape) for name, weight in model.initial_weights.items()}
    given = {name: tuple(guide.site(name).theta.shape) for name in guide.site_names}
    if given != wanted:
        raise InputError(f"the guide is of another network: its weights are {given}, the model's {wanted}")
    if guide.model_identity != model.identity:
        raise InputError(
            f"the {type(guide).__name__} was made for another {type(model).__name__}, with other biases; make a guide for this "
            "one, or go on with the model that it was made for"
        )
