"""Checks of the inputs of a network that is run as sparse matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.networks.modules import SelectInputs


def selects_channels(flattens: bool, steps: Sequence[nn.Module]) -> bool:
    """Whether the inputs are selected in dimension 1, which holds the features only if the input is a matrix."""
    return not flattens and isinstance(first := steps[0], SelectInputs) and first.dim == 1


def check_tensor(x: object) -> None:
    """Refuse an input that is not a tensor.

    Raises:
        InputError: naming its type.
    """
    if not isinstance(x, Tensor):
        raise InputError(f"an input is a {type(x).__name__}; it must be a tensor", name="x", value=x, allowed="a tensor")


def check_input(x: Any, flattens: bool, steps: Sequence[nn.Module]) -> None:
    """Refuse inputs that a network cannot take; ``flattens`` and ``steps``: see :func:`~pyro_vd.runtime.csr.linear_steps`.

    Raises:
        InputError: ``x`` is not a tensor; or its shape, number of features, type or device does not fit the network.
    """
    check_tensor(x)
    wanted: Any = next(step.in_features for step in steps if hasattr(step, "in_features"))
    like: Any = next(step.weight for step in steps if hasattr(step, "weight"))
    is_matrix = selects_channels(flattens, steps)
    if x.ndim != 2 if is_matrix else x.ndim < (2 if flattens else 1):
        shape = f"(n, {wanted})" if is_matrix else f"(n, …), {wanted} features in each" if flattens else f"(…, {wanted})"
        given = tuple(x.shape)
        raise InputError(f"an input has the shape {given}; it must be {shape}", name="x", value=given, allowed=shape)
    found = math.prod(x.shape[1:]) if flattens else x.shape[-1]
    if found != wanted:
        raise wrong_features(found, wanted)
    if (x.dtype, x.device) != (like.dtype, like.device):
        allowed = f"{like.dtype} on {like.device}"
        raise InputError(
            f"an input is {x.dtype} on {x.device}; it must be {allowed}, like the weights",
            name="x",
            value=(x.dtype, x.device),
            allowed=allowed,
        )


def wrong_features(found: int, wanted: int) -> InputError:
    """Make the error for an input with another number of features than the network takes."""
    return InputError(
        f"an input has {found} features; it must have {wanted}", name="x", value=found, allowed=f"{wanted} features"
    )
