"""Names of the tensors that a network takes and gives: a file knows its inputs and outputs by names alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pyro_vd.networks.inputs import Inputs, named_tensors, tensors_in

INPUT, OUTPUT = "input", "output"
"""The name of a single tensor; the tensors of a tuple are ``input_0``, ``input_1`` and so on."""


def named(x: Any, single: str) -> dict[str, Tensor]:
    """The tensors of inputs or outputs by name: ``single`` for one tensor, ``single_0``, ``single_1``, … for those of a tuple,
    and the keys for those of a mapping or a dataclass; ``key.0``, ``key.1``, … for a tuple under a key.

    What holds tensors in another form, such as the cache of a language model, is left out.
    """
    if isinstance(x, Tensor):
        return {single: x}
    if isinstance(x, tuple | list):
        return {f"{single}_{index}": tensor for index, tensor in enumerate(tensors_in(x))}
    return dict(named_tensors(x))


def named_inputs(x: Inputs) -> dict[str, Tensor]:
    """The tensors of inputs by name; a tuple of one is the same as what is in it."""
    return named(x[0] if isinstance(x, tuple) and len(x) == 1 else x, INPUT)


def unnamed(tensors: Mapping[str, Tensor], single: str) -> Any:
    """A tensor, a tuple or a dictionary by name, in the form that had the names of :func:`named`, without nesting."""
    if list(tensors) == [single]:
        return tensors[single]
    if list(tensors) == [f"{single}_{index}" for index in range(len(tensors))]:
        return tuple(tensors.values())
    return dict(tensors)
