"""Conversion of inputs and observations in any form to tensors, and checks that do not depend on a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_vd._core.arrays import check_finite, tensor_of
from pyro_vd._core.errors import InputError
from pyro_vd.networks.inputs import Inputs, named_tensors, num_examples


def inputs_of(name: str, value: Any, dtype: torch.dtype | None = None) -> Inputs:
    """Return inputs with tensors in the place of arrays; the type of a tensor, and of integers and booleans, stays.

    A tuple with a tensor, an array or a mapping in it, and a mapping, hold several inputs, each a tensor, an array or a list of
    numbers. What is none of these, such as a flag, stays. Any other tuple or list is one array.

    Args:
        name: what the inputs are called in an error.
        value: what was given.
        dtype: type of floating-point numbers that are not given as a tensor; None keeps their type.

    Raises:
        InputError: see :func:`~pyro_vd._core.arrays.tensor_of`.
    """
    if isinstance(value, Mapping):
        return {key: _part(f"{name}, {key}", part, dtype) for key, part in value.items()}
    if isinstance(value, tuple) and any(map(_is_part, value)):
        return tuple(_part(f"{name}, {index}", part, dtype) for index, part in enumerate(value))
    return tensor_of(name, value, dtype)


def _is_part(value: Any) -> bool:
    """Whether a value in a tuple shows that the tuple holds several inputs."""
    return isinstance(value, Mapping) or getattr(value, "ndim", 0) > 0


def _part(name: str, value: Any, dtype: torch.dtype | None) -> Any:
    if isinstance(value, Mapping):
        return inputs_of(name, value, dtype)
    if isinstance(value, tuple | list) and any(isinstance(part, tuple) or _is_part(part) for part in value):
        return type(value)(_part(f"{name}, {index}", part, dtype) for index, part in enumerate(value))
    is_array = isinstance(value, Tensor) or _is_part(value) or holds_numbers(value)
    return tensor_of(name, value, dtype) if is_array else value


def holds_numbers(value: Any) -> bool:
    """Whether a value is a list of numbers, or of lists of them, which is taken as one array."""
    if not isinstance(value, list):
        return False
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, int | float)


def check_inputs_given(name: str, x: Inputs) -> None:
    """Refuse inputs that are no batch.

    Raises:
        InputError: there are no examples, or no numbers; several tensors do not have one number of examples; floating-point
            inputs of one number per example, ``(n,)``, where they are all there is; or a number is not finite.
    """
    if isinstance(x, Tensor) and (x.ndim < (2 if x.is_floating_point() else 1) or x.numel() == 0):
        message = f"{name}: inputs of shape {tuple(x.shape)}; it must be (n, …) with n >= 1 and at least one number per example"
        raise InputError(message, name=name, value=tuple(x.shape), allowed="of shape (n, …)")
    num_examples(x, name)
    for part, tensor in named_tensors(x):
        if tensor.numel() == 0:
            message = f"{name}: inputs {part} of shape {tuple(tensor.shape)}; there must be at least one number per example"
            raise InputError(message, name=name, value=tuple(tensor.shape), allowed="of shape (n, …)")
        check_finite(name, f"inputs {part}".strip(), tensor)


def check_pair(name: str, x: Inputs, y: Any) -> None:
    """Refuse inputs and observations that no network and likelihood can be trained on.

    Raises:
        InputError: see :func:`check_inputs_given`; there are not as many inputs as observations; or an observation is not
            finite.
    """
    check_inputs_given(name, x)
    for _, tensor in named_tensors(y):
        if tensor.ndim == 0 or tensor.numel() == 0:
            message = f"{name}: labels of shape {tuple(tensor.shape)}; they must be (n,), or (n, …) for several per example"
            raise InputError(message, name=name, value=tuple(tensor.shape), allowed="of shape (n,) or (n, …)")
    counts = num_examples(x, name), num_examples(y, f"{name}, labels")
    if counts[0] != counts[1]:
        message = f"{name}: {counts[0]} inputs and {counts[1]} labels; the numbers must be equal"
        raise InputError(message, name=name, value=counts, allowed="as many inputs as labels")
    for _, tensor in named_tensors(y):
        check_finite(name, "observations", tensor)


def check_types(name: str, x: Inputs, kinds: set[torch.dtype]) -> None:
    """Refuse floating-point inputs of another type than a network's; inside ``torch.autocast`` every type is allowed.

    Raises:
        InputError: quoting the type.
    """
    for part, tensor in named_tensors(x):
        free = not tensor.is_floating_point() or torch.is_autocast_enabled(tensor.device.type)
        if kinds and tensor.dtype not in kinds and not free:
            raise InputError(
                f"{name}: {f'inputs {part}'.strip()} of type {tensor.dtype}, a network of {', '.join(map(str, kinds))}; "
                "convert one of them",
                name=name,
                value=tensor.dtype,
                allowed=" or ".join(map(str, kinds)),
            )
