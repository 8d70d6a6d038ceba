"""What a loader says about where it is: read it for a checkpoint, and put it back after a look at its batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.storage import fits_checkpoint


def has_state(loader: Any) -> bool:
    """Whether a loader has the methods ``state_dict`` and ``load_state_dict``."""
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")


def state_of(loader: Any) -> Any:
    """Return the state of a loader that has one.

    Raises:
        InputError: it holds more than tensors and plain values, so that no checkpoint can hold it.
    """
    state = loader.state_dict()
    if not fits_checkpoint(state):
        raise InputError(
            f"the state_dict of a {type(loader).__name__} holds more than tensors and plain values, {quoted(state)}, so that "
            "no checkpoint can hold it",
            name="state_dict",
            value=state,
            allowed="tensors and plain values",
        )
    return state


@contextmanager
def state_kept(loader: Any) -> Iterator[None]:
    """Put the state of a loader back at the end; a ``DataLoader`` needs no state for a new pass."""
    if not has_state(loader) or isinstance(loader, DataLoader):
        yield
        return
    state = copy.deepcopy(loader.state_dict())
    try:
        yield
    finally:
        loader.load_state_dict(state)
