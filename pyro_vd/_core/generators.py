"""The state of a device's random generator: read, set and restore it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def generator_state(device: torch.device) -> Tensor:
    """Return the state of the generator that draws on ``device``, as bytes on the CPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_generator_state(device: torch.device, state: Tensor) -> None:
    """Set the generator of ``device`` to a state from :func:`generator_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def generators_kept(device: torch.device) -> AbstractContextManager[None]:
    """Return a context manager that restores the generators of the CPU and of ``device`` at its end, and no others."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
