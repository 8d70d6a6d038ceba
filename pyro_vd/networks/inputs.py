"""Inputs of a network: one tensor, a tuple of several, or a mapping of keyword arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""A batch of inputs: a tensor ``(n, …)`` for ``net(x)``; a tuple for ``net(*x)``; a mapping, such as a batch of Hugging Face,
for ``net(**x)``. Every tensor in a tuple or mapping has the n examples in dimension 0; what is not a tensor is passed on."""


def call_arguments(x: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the keyword arguments of a network for inputs ``x``."""
    if isinstance(x, Mapping):
        return (), dict(x)
    return (tuple(x), {}) if isinstance(x, tuple | list) else ((x,), {})


def run(net: nn.Module, x: Inputs) -> Any:
    """The output of a network for inputs ``x``."""
    args, kwargs = call_arguments(x)
    return net(*args, **kwargs)


def map_tensors(function: Callable[[Tensor], Any], x: Any) -> Any:
    """Apply ``function`` to every tensor in ``x``, in nested tuples, lists and mappings too; everything else stays."""
    if isinstance(x, Tensor):
        return function(x)
    if isinstance(x, tuple | list):
        items = [map_tensors(function, item) for item in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    return {key: map_tensors(function, item) for key, item in x.items()} if isinstance(x, Mapping) else x


def tensors_in(x: Any) -> Iterator[Tensor]:
    """Every tensor in ``x``, in nested tuples, lists and mappings too."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, tuple | list | Mapping):
        for item in x.values() if isinstance(x, Mapping) else x:
            yield from tensors_in(item)


def num_examples(x: Inputs, name: str = "x") -> int:
    """The number n of examples, the size of dimension 0 of every tensor; ``name`` is what an error calls the inputs.

    Raises:
        InputError: there is no tensor, one has no dimension, or the sizes differ.
    """
    shapes = [tuple(tensor.shape) for tensor in tensors_in(x)]
    sizes = {shape[:1] for shape in shapes}
    if len(sizes) != 1 or sizes == {()}:
        raise InputError(
            f"inputs have the shapes {shapes}; there must be at least one tensor, and all must have the same number of "
            "examples in dimension 0",
            name=name,
            value=shapes,
            allowed="tensors with one number of examples in dimension 0",
        )
    return sizes.pop()[0]


def rows(x: Inputs, index: Any) -> Any:
    """The examples of ``x`` that an index of dimension 0 selects, in the same form."""
    return map_tensors(lambda tensor: tensor[index], x)


def to_device(x: Inputs, device: torch.device | None) -> Any:
    """The inputs on a device, in the same form; None leaves them where they are."""
    return x if device is None else map_tensors(lambda tensor: tensor.to(device), x)
