"""Inputs and observations in a batch of a loader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean, quoted
from pyro_vd.data.dataset import Arrays, as_tuples
from pyro_vd.networks.input_checks import inputs_of
from pyro_vd.networks.inputs import Inputs, in_type

TARGETS = ("target", "labels")
"""The keys of the observations in a batch that is a mapping, where no key is given; "labels" is the one of Hugging Face."""


def check_target(value: object) -> None:
    """Refuse a value for ``target`` that is no key.

    Raises:
        InputError: it is neither text nor None.
    """
    if value is not None and not isinstance(value, str):
        raise InputError(name="target", value=value, allowed="a key of the batches, or None")


def pair_in(batch: Any, target: str | None = None, dtype: torch.dtype | None = None) -> Arrays:
    """Return inputs and observations of a batch as tensors.

    Args:
        batch: a pair of tensors, arrays or lists of numbers, of which several inputs are a tuple, a list or a mapping; or a
            mapping of the inputs and, under one key, the observations.
        target: that key; None for the first of :data:`TARGETS` that the batch has.
        dtype: type of floating-point inputs; None keeps their type.

    Raises:
        InputError: the batch is neither, or has no such key.
    """
    if isinstance(batch, Mapping):
        key = _key(batch, target)
        if key is None:
            wanted = quoted(target) if target is not None else " or ".join(map(quoted, TARGETS))
            keys = list(batch)
            raise InputError(
                f"a batch has the keys {', '.join(map(quoted, keys))}; the observations must be under {wanted}, or target= "
                f"must name their key{did_you_mean(target, map(str, keys))}",
                name="target",
                value=target,
                allowed=f"one of {', '.join(map(quoted, keys))}",
            )
        return inputs_in(batch, key, dtype), inputs_of("observations", as_tuples(batch[key]))
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        raise InputError(
            f"a batch is {quoted(batch)}; it must be a pair of tensors, inputs and observations, of which several inputs are a "
            "tuple or a mapping of tensors; or a mapping with the key of the observations",
            name="batch",
            value=batch,
            allowed="a pair of tensors, inputs and observations, or a mapping",
        )
    return _converted(batch[0], dtype), inputs_of("observations", as_tuples(batch[1]))


def inputs_in(batch: Any, target: str | None = None, dtype: torch.dtype | None = None) -> Inputs:
    """Return the inputs of a batch as tensors; the arguments are those of :func:`pair_in`.

    A batch that is no pair, and a mapping without observations, are inputs alone.
    """
    if isinstance(batch, Mapping):
        key = _key(batch, target)
        return _converted({name: part for name, part in batch.items() if name != key}, dtype)
    if isinstance(batch, tuple | list) and len(batch) in (1, 2):
        return _converted(batch[0], dtype)
    return _converted(batch, dtype)


def _key(batch: Mapping[Any, Any], target: str | None) -> str | None:
    return next((key for key in ((target,) if target is not None else TARGETS) if key in batch), None)


def _converted(x: Any, dtype: torch.dtype | None) -> Inputs:
    x = inputs_of("inputs", as_tuples(x), dtype)
    return x if dtype is None else in_type(x, dtype)
