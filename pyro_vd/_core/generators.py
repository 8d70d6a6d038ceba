"""The random generator of a device: its state, and keeping that while something is tried."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def generator_state(device: torch.device) -> Tensor:
    """The state of the generator that draws on ``device``, as bytes on the CPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_generator_state(device: torch.device, state: Tensor) -> None:
    """Go back to what :func:`generator_state` gave."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def generators_kept(device: torch.device) -> AbstractContextManager[None]:
    """Afterwards the generators of the CPU and of ``device`` are as they were; no other device is touched."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
