"""Checks of parts of a training's state from a file against the training's own: tensors, numbers, lists and mappings."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted


def check_kind(name: str, value: Any, like: Tensor) -> None:
    """Refuse a value that is not a tensor of the type, shape and layout of ``like``.

    Raises:
        InputError: naming the type and shape that it has and those that it must have.
    """
    if type(value) is not Tensor or (value.dtype, value.shape, value.layout) != (like.dtype, like.shape, like.layout):
        kind = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        allowed = f"{like.dtype} {tuple(like.shape)}"
        raise InputError(f"{name} is {kind}; it must be {allowed}", name=name, value=kind, allowed=allowed)


def check_finite(name: str, value: Tensor) -> None:
    """Refuse a tensor with NaN or infinite values.

    Raises:
        InputError: naming it.
    """
    if not torch.isfinite(value).all():
        raise InputError(f"{name} holds NaN or infinite values; all must be finite", name=name, allowed="finite")


def check_alike(name: str, value: Any, like: Any, grows: bool = False) -> None:
    """Refuse a value that is not of the form of another: equal keys, lengths, texts and types; numbers may differ.

    Args:
        name: of the value, for messages.
        value: anything.
        like: the other.
        grows: whether lists may be longer, and mappings may have further keys, with any content.

    Raises:
        InputError: naming the part that differs.
    """
    if isinstance(like, Tensor):
        check_kind(name, value, like)
        if not torch.equal(value, like.cpu()):
            check_finite(name, value)
    elif isinstance(like, dict) and isinstance(value, dict) and _has_keys(value, like, grows):
        for key, part in like.items():
            check_alike(f"{name}.{key}", value[key], part, grows)
    elif isinstance(like, list | tuple) and type(value) is type(like) and _has_length(value, like, grows):
        for number, (part, wanted) in enumerate(zip(value, like, strict=False)):
            check_alike(f"{name}.{number}", part, wanted, grows)
    elif not (_is_number(like) and _is_number(value) and math.isfinite(value)) and not is_same(value, like):
        allowed = f"a mapping with the keys {', '.join(map(str, like))}" if isinstance(like, dict) else f"as {quoted(like)}"
        raise InputError(name=name, value=value, allowed=allowed)


def is_same(found: Any, own: Any) -> bool:
    """Whether two plain values are equal and of one type, and so are the parts of lists and tuples."""
    if isinstance(own, list | tuple):
        return type(found) is type(own) and len(found) == len(own) and all(map(is_same, found, own))
    return type(found) is type(own) and bool(found == own)


def _has_keys(value: dict[Any, Any], like: dict[Any, Any], grows: bool) -> bool:
    return value.keys() >= like.keys() if grows else value.keys() == like.keys()


def _has_length(value: Any, like: Any, grows: bool) -> bool:
    return len(value) >= len(like) if grows else len(value) == len(like)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
