"""Checks of single arguments, which return the value as a plain Python object, or refuse it and say what is allowed."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import must_be_one_of, quoted

LARGEST = 2**31 - 1
"""Largest count that is given to torch."""
HIGHEST_KL_WEIGHT = 1e12
"""Largest β; its product with the KL of any network (at most some 10¹² nats) is within float32's range."""
HIGHEST_LR = float(np.finfo(np.float32).max)
"""Largest learning rate, the largest float32 number, because it multiplies float32 numbers."""


def check_rate(name: str, p: Any) -> float:
    """Return a dropout rate as a float.

    Raises:
        InputError: not a number in [0, 1).
    """
    value = plain_number(p)
    if value is None or not 0 <= value < 1:
        raise InputError(name=name, value=p, allowed="a dropout rate in [0, 1)")
    return float(value)


@overload
def check_number(
    name: str, value: Any, *, low: float, high: float = ..., low_open: bool = ..., whole: Literal[True]
) -> int: ...


@overload
def check_number(
    name: str, value: Any, *, low: float, high: float = ..., low_open: bool = ..., whole: Literal[False] = ...
) -> float: ...


def check_number(
    name: str, value: Any, *, low: float, high: float = math.inf, low_open: bool = False, whole: bool = False
) -> float:
    """Return a finite number as Python's; NumPy numbers and tensors or arrays of one number are accepted.

    Args:
        name: what the number is called in an error.
        value: what was given.
        low: smallest number.
        high: largest number.
        low_open: whether ``low`` itself is excluded.
        whole: whether the number must be an integer.

    Raises:
        InputError: quoting ``name``, the value and the range.
    """
    number = plain_number(value)
    is_one = number is not None and low <= number <= high and not (low_open and number == low)
    if is_one and (isinstance(number, int) if whole else abs(cast(float, number)) <= sys.float_info.max):
        return cast(float, number)
    sign = ">" if low_open else ">="
    bounds = f"{sign} {low:.12g}" + ("" if high == math.inf else f" and <= {high:.12g}")
    raise InputError(name=name, value=value, allowed=f"{('an integer' if whole else 'a finite number')} {bounds}")


def check_numbers(name: str, values: Any, *, low: float, high: float = math.inf) -> list[int]:
    """Return a list of integers in [low, high]; a one-dimensional array or tensor is accepted.

    Raises:
        InputError: not a list, or an element is not such an integer.
    """
    if isinstance(values, np.ndarray | Tensor) and values.ndim == 1:
        values = values.tolist()
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise InputError(name=name, value=values, allowed="a list of integers")
    return [check_number(f"{name}[{k}]", value, low=low, high=high, whole=True) for k, value in enumerate(values)]


def check_flag(name: str, value: Any) -> bool:
    """Return True or False as a Python bool.

    Raises:
        InputError: any other value.
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(name=name, value=value, allowed="True or False")
    return bool(value)


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """Refuse a value that is not one of the allowed names.

    Raises:
        InputError: with the allowed name that is similar to the value, if there is one.
    """
    if not isinstance(value, str) or value not in allowed:
        raise InputError(must_be_one_of(name, value, allowed), name=name, value=value, allowed=f"one of {', '.join(allowed)}")


def check_path(name: str, value: Any) -> Path:
    """Return the path of a file or folder, which need not exist.

    Raises:
        InputError: neither text nor a path, or not a possible path of a file.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str) or not os.fspath(value):
        raise InputError(name=name, value=value, allowed="a path, as text or a pathlib.Path")
    try:
        Path(value).exists()
    except (OSError, ValueError) as error:
        message = f"{name} (={quoted(value)}) cannot be the path of a file: {error}"
        raise InputError(message, name=name, value=value, allowed="a possible path") from error
    return Path(value)


def check_file(name: str, value: Any) -> Path:
    """Return the path of a file that exists, or that can be created in an existing folder.

    Raises:
        InputError: not a path; the folder is missing; or the path is that of a folder or another object that is not a file.
    """
    path = check_path(name, value)
    if not path.parent.is_dir():
        message = f"{name} (={str(path)!r}): there is no folder {str(path.parent)!r}; create it first"
        raise InputError(message, name=name, value=value, allowed="in an existing folder")
    if path.exists() and not path.is_file():
        message = f"{name} (={str(path)!r}) exists and is not a file; give the path of a file"
        raise InputError(message, name=name, value=value, allowed="the path of a file")
    return path


def check_device(name: Any) -> torch.device:
    """Return the device of this name.

    Raises:
        InputError: the name is unknown, or this machine does not have such a device.
    """
    try:
        if isinstance(name, bool):
            raise TypeError(name)
        device = torch.device(name)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        message = f"device (={quoted(name)}) is unknown; it must be one of cpu, cuda, cuda:1, mps, …"
        raise InputError(message, name="device", value=name, allowed="one of cpu, cuda, cuda:1, mps, …") from error
    try:
        torch.zeros(1, device=device).item()  # the device "meta" exists everywhere, but its tensors have no values
    except (RuntimeError, AssertionError) as error:
        message = f"device (={str(name)!r}) cannot be used here: {str(error).splitlines()[0].split('. ')[0]}"
        raise InputError(message, name="device", value=name, allowed="a device of this machine") from error
    return device


def take(settings: object, name: str, value: object) -> None:
    """Set a field of a frozen dataclass in its ``__post_init__``."""
    object.__setattr__(settings, name, value)


def plain_number(value: Any) -> int | float | None:
    """Return a number (Python's, NumPy's, or in a tensor or array without dimensions) as Python's; None for other values."""
    holds_one = isinstance(value, np.ndarray | Tensor) and value.ndim == 0 and not (isinstance(value, Tensor) and value.is_meta)
    if isinstance(value, np.generic) or holds_one:
        value = value.item()
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
