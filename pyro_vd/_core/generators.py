"""The state of a device's random generator: read, set and restore it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
