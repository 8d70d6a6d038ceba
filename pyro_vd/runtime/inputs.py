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


def check_input(x: Any, flattens: bool, steps: Sequence[nn.Module]) -> None:
    """Refuse inputs that a network cannot take, given what :func:`~pyro_vd.runtime.csr.linear_steps` says of it.

    Raises:
        InputError: ``x`` is not a tensor; or its shape, number of features, type or device does not fit the network.
    """
    if not isinstance(x, Tensor):
        raise InputError(f"an input is a {type(x).__name__}; it must be a tensor")
    wanted = next(step.in_features for step in steps if hasattr(step, "in_features"))
    like: Any = next(step.weight for step in steps if hasattr(step, "weight"))
    is_matrix = selects_channels(flattens, steps)
    if x.ndim != 2 if is_matrix else x.ndim < (2 if flattens else 1):
        shape = f"(n, {wanted})" if is_matrix else f"(n, …), {wanted} features in each" if flattens else f"(…, {wanted})"
        raise InputError(f"an input has the shape {tuple(x.shape)}; it must be {shape}")
    found = math.prod(x.shape[1:]) if flattens else x.shape[-1]
    if found != wanted:
        raise InputError(f"an input has {found} features; it must have {wanted}")
    if (x.dtype, x.device) != (like.dtype, like.device):
        raise InputError(f"an input is {x.dtype} on {x.device}; it must be {like.dtype} on {like.device}, like the weights")
