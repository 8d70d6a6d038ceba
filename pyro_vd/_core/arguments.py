"""Checks of single arguments: the value as plain Python has it, or an error that quotes it and says what is allowed."""

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
"""Of a count that torch is given."""
HIGHEST_KL_WEIGHT = 1e12
"""β times the KL of any network, at most some 10¹² nats, stays within float32's range."""
HIGHEST_LR = float(np.finfo(np.float32).max)
"""Of what multiplies float32 numbers: torch cannot turn a larger one into one."""


def check_rate(name: str, p: Any) -> float:
    """A dropout rate.

    Raises:
        InputError: outside [0, 1).
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
    """A finite number in [low, high], (low, high] if ``low_open``, an integer if ``whole``; also NumPy's, or a tensor of one.

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
    """A list of integers in [low, high].

    Raises:
        InputError: no list, or another number in it.
    """
    if isinstance(values, np.ndarray | Tensor) and values.ndim == 1:
        values = values.tolist()
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise InputError(name=name, value=values, allowed="a list of integers")
    return [check_number(f"{name}[{k}]", value, low=low, high=high, whole=True) for k, value in enumerate(values)]


def check_flag(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(name=name, value=value, allowed="True or False")
    return bool(value)


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """One of the allowed names.

    Raises:
        InputError: another, with the one that may be meant.
    """
    if not isinstance(value, str) or value not in allowed:
        raise InputError(must_be_one_of(name, value, allowed), name=name, value=value, allowed=f"one of {', '.join(allowed)}")


def check_path(name: str, value: Any) -> Path:
    """A file's or folder's path.

    Raises:
        InputError: neither text nor a path, or a path that no file can have.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str) or not os.fspath(value):
        raise InputError(name=name, value=value, allowed="a path, as text or a pathlib.Path")
    try:
        Path(value).exists()
    except (OSError, ValueError) as error:
        raise InputError(f"{name} (={quoted(value)}) cannot be the path of a file: {error}") from error
    return Path(value)


def check_file(name: str, value: Any) -> Path:
    """The path of a file that exists, or that can be made in an existing folder.

    Raises:
        InputError: not a path, the folder is missing, or the path is that of something else than a file.
    """
    path = check_path(name, value)
    if not path.parent.is_dir():
        raise InputError(f"{name} (={str(path)!r}): there is no folder {str(path.parent)!r}; make it first")
    if path.exists() and not path.is_file():
        raise InputError(f"{name} (={str(path)!r}) is there and no file; give the path of a file")
    return path


def check_device(name: Any) -> torch.device:
    """The device of that name.

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    try:
        if isinstance(name, bool):
            raise TypeError(name)
        device = torch.device(name)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"device (={quoted(name)}) is unknown; it must be one of cpu, cuda, cuda:1, mps, …") from error
    try:
        torch.zeros(1, device=device).item()  # "meta" exists everywhere, and holds nothing
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device (={str(name)!r}) cannot be used here: {str(error).splitlines()[0].split('. ')[0]}") from error
    return device


def take(settings: object, name: str, value: object) -> None:
    """Set a field of a frozen dataclass that is being made to the value as plain Python has it."""
    object.__setattr__(settings, name, value)


def plain_number(value: Any) -> int | float | None:
    """A number as Python's: its own, NumPy's, or that in a tensor or array without dimensions. None for all else, bools too."""
    holds_one = isinstance(value, np.ndarray | Tensor) and value.ndim == 0 and not (isinstance(value, Tensor) and value.is_meta)
    if isinstance(value, np.generic) or holds_one:
        value = value.item()
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
