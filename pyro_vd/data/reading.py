"""Sentences that say which batch could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line

_DIED = "DataLoader worker"
"""The start of the message that torch raises, wherever the main process is, when a worker process has ended."""


@contextmanager
def reading_batch(where: str) -> Iterator[None]:
    """Say in every error of a batch which one it is.

    Args:
        where: the name of the data and the batch.

    Raises:
        InputError: anything but an interruption was raised inside.
    """
    try:
        yield
    except Exception as error:
        refuse_batch(where, error)


def refuse_batch(where: str, error: Exception) -> NoReturn:
    """Raise the error of a batch that could not be read, with its name in front."""
    if isinstance(error, InputError):
        value = {"value": error.value} if error.has_value else {}
        raise InputError(f"{where}: {error}", name=error.name, allowed=error.allowed, **value) from error
    text = str(error).strip()
    in_worker = text.startswith("Caught ")  # then the traceback of the worker process follows
    said = one_line(text.splitlines()[-1] if in_worker else f"{type(error).__name__}: {one_line(error)}")
    what = "a worker process of the loader died" if is_death(error) else "it could not be read"
    raise InputError(f"{where}: {what}: {said}", name=where, value=said, allowed="readable") from error


def is_death(error: Exception) -> bool:
    """Whether torch says with it that a worker process of a ``DataLoader`` has died."""
    return isinstance(error, RuntimeError) and str(error).startswith(_DIED)
