"""Checks of what a user gives: each error quotes the value and says what is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_vd.errors import InputError

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork


def check_number(
    name: str, value: Any, *, low: float, high: float = math.inf, low_open: bool = False, whole: bool = False
) -> None:
    """Refuse a value that is not a finite number in [low, high], (low, high] if ``low_open``, or not an integer if ``whole``.

    Raises:
        InputError: quoting ``name``, the value and the range.
    """
    kind = int if whole else (int, float)
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and low <= value <= high and not (low_open and value == low):
        return
    sign = ">" if low_open else ">="
    bounds = f"{sign} {low:g}" + ("" if high == math.inf else f" and <= {high:g}")
    raise InputError(f"{name} (={value!r}) must be {'an integer' if whole else 'a finite number'} {bounds}")


def check_device(name: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device (={str(name)!r}) cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def check_arrays(name: str, x: Tensor, y: Tensor) -> None:
    """Refuse inputs and labels that cannot be trained on whatever the network.

    Raises:
        InputError: none, or unequal numbers; labels that are not integers or negative; NaN or infinite inputs.
    """
    if len(x) != len(y) or len(x) == 0:
        raise InputError(f"{name}: {len(x)} inputs and {len(y)} labels; there must be as many of each, at least one")
    if y.ndim != 1 or y.is_floating_point() or y.is_complex():
        raise InputError(f"{name}: labels of shape {tuple(y.shape)} and type {y.dtype}; they must be (n,) integers")
    if int(y.min()) < 0:
        raise InputError(f"{name}: label {int(y.min())}; labels must be 0 or more")
    if not x.is_floating_point():
        raise InputError(f"{name}: inputs of type {x.dtype}; they must be floating point")
    if not torch.isfinite(x).all():
        bad = ~torch.isfinite(x)
        first = bad.reshape(len(x), -1).any(1).nonzero()[0].item()
        raise InputError(f"{name}: {int(bad.sum())} NaN or infinite inputs, the first in example {first}; all must be finite")


@torch.no_grad()
def check_data(name: str, data: tuple[Tensor, Tensor], model: BayesianNetwork) -> tuple[Tensor, Tensor]:
    """``data``, after :func:`check_arrays` and a try of the network on one example.

    Raises:
        InputError: also where the network cannot take the inputs, or a label is beyond its outputs.
    """
    x, y = data
    check_arrays(name, x, y)
    was_training = model.training
    model.eval()
    weights = model.initial_weights
    try:
        output = model.output(weights, x[:1].to(next(iter(weights.values())).device))
    except RuntimeError as error:
        raise InputError(
            f"{name}: inputs of shape {tuple(x.shape[1:])} do not fit the network: {str(error).splitlines()[0]}"
        ) from error
    finally:
        model.train(was_training)
    if output.ndim != 2 or int(y.max()) >= output.shape[-1]:
        raise InputError(
            f"{name}: label {int(y.max())} does not fit the network, whose output for one example has the shape "
            f"{tuple(output.shape)}; it must be (1, classes) with classes > {int(y.max())}"
        )
    return x, y
