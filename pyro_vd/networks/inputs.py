"""Inputs of a network: one tensor, a tuple of several, or a mapping of keyword arguments."""

from __future__ import annotations

import dataclasses
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
    if isinstance(x, Tensor):
        return net(x)
    args, kwargs = call_arguments(x)
    return net(*args, **kwargs)


def run_apart(net: nn.Module, x: Inputs) -> Any:
    """The output of a network for a copy of the inputs ``x``, which some networks change in place."""
    return run(net, map_tensors(torch.clone, x))


def map_leaves(function: Callable[[Any], Any], x: Any) -> Any:
    """Apply ``function`` to everything in nested tuples, lists, mappings and dataclasses that is none of these."""
    if isinstance(x, tuple | list):
        items = [map_leaves(function, item) for item in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    if _is_dataclass(x):
        fields = [field.name for field in dataclasses.fields(x) if field.init]
        return dataclasses.replace(x, **{name: map_leaves(function, getattr(x, name)) for name in fields})
    return {key: map_leaves(function, item) for key, item in x.items()} if isinstance(x, Mapping) else function(x)


def map_tensors(function: Callable[[Tensor], Any], x: Any) -> Any:
    """Apply ``function`` to every tensor in ``x``, in nested tuples, lists, mappings and dataclasses too; the rest stays."""
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, x)


def named_leaves(x: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in ``x`` that is no container, in the order of :func:`map_leaves`, with its keys and indices: ``cache.0``."""
    if isinstance(x, tuple | list):
        parts: Any = enumerate(x)
    elif _is_dataclass(x):
        parts = ((field.name, getattr(x, field.name)) for field in dataclasses.fields(x) if field.init)
    elif isinstance(x, Mapping):
        parts = x.items()
    else:
        yield name, x
        return
    for key, part in parts:
        yield from named_leaves(part, f"{name}.{key}" if name else str(key))


def named_tensors(x: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in ``x`` with its name, as :func:`named_leaves` makes it; the name of a tensor alone is empty."""
    return ((name, leaf) for name, leaf in named_leaves(x) if isinstance(leaf, Tensor))


def tensors_in(x: Any) -> Iterator[Tensor]:
    """Every tensor in ``x``, in nested tuples, lists, mappings and dataclasses too."""
    return (tensor for _, tensor in named_tensors(x))


def device_of(x: Any) -> torch.device:
    """The device of the first tensor in ``x``; the CPU where there is none."""
    return next((tensor.device for tensor in tensors_in(x)), torch.device("cpu"))


def shapes_of(x: Any) -> Any:
    """The shape of a tensor, or the shapes of several by name, for messages."""
    shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(x)}
    return shapes[""] if isinstance(x, Tensor) else shapes


def num_examples(x: Any, name: str = "x") -> int:
    """The number n of examples, the size of dimension 0 of every tensor in ``x``, which an error calls ``name``.

    Raises:
        InputError: there is no tensor, one has no dimension, or the sizes differ.
    """
    if isinstance(x, Tensor) and x.ndim:
        return x.shape[0]
    sizes = {tensor.shape[:1] for tensor in tensors_in(x)}
    if len(sizes) != 1 or sizes == {()}:
        shapes = [tuple(tensor.shape) for tensor in tensors_in(x)]
        raise InputError(
            f"{name}: tensors of the shapes {shapes_of(x)}; there must be at least one tensor, and all must have the same "
            "number of examples in dimension 0",
            name=name,
            value=shapes,
            allowed="tensors with one number of examples in dimension 0",
        )
    return sizes.pop()[0]


def rows(x: Any, index: Any) -> Any:
    """The examples of ``x`` that an index of dimension 0 selects, in the same form."""
    return map_tensors(lambda tensor: tensor[index], x)


def in_type(x: Any, dtype: torch.dtype) -> Any:
    """The inputs with floating-point numbers of this type, in the same form."""
    return map_tensors(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, x)


def in_float64(x: Any) -> Any:
    """The inputs with floating-point numbers as float64, in the same form."""
    return in_type(x, torch.float64)


def to_device(x: Any, device: torch.device | None, non_blocking: bool = False) -> Any:
    """Inputs or observations on a device, in the same form; None leaves them where they are.

    With ``non_blocking``, what is in pinned memory is copied to a GPU while the host goes on.
    """
    return x if device is None else map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking), x)


def _is_dataclass(x: Any) -> bool:
    return dataclasses.is_dataclass(x) and not isinstance(x, type)
