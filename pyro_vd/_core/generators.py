"""The state of random generators: read it, set it, restore it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from pyro_vd._core.threads import alone


def generator_state(device: torch.device) -> Tensor:
    """Return the state of the generator that draws on ``device``, as bytes on the CPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_generator_state(device: torch.device, state: Tensor) -> None:
    """Set the generator of ``device`` to a state from :func:`generator_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


@contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """Restore the generators of the CPU and of ``device`` at the end, and no others; no other thread draws meanwhile."""
    with alone(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of the CPU that belong to the whole process: those of torch, NumPy and Python.

    Their states are restored at the end; no other thread draws meanwhile.
    """
    with alone():
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        try:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
            np.random.seed(seed % 2**32)  # noqa: NPY002  what random transforms of others draw from
            random.seed(seed)
            yield
        finally:
            torch.set_rng_state(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            random.setstate(states[2])
