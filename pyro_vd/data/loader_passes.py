"""The passes over a loader, one after another, and where they are."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.generators import seeded
from pyro_vd.data.loader_pass import LoaderPass
from pyro_vd.data.loader_state import has_state, state_of

_PLACE = ("seed", "taken", "examples")
"""What says where a pass is."""


class LoaderPasses:
    """The passes over a loader, whose place a checkpoint holds.

    Args:
        loader: what is iterated over.
        goes_on: whether a pass goes on over the end of an epoch, which is a number of batches; otherwise it is an epoch.
    """

    def __init__(self, loader: Any, goes_on: bool) -> None:
        self._loader = loader
        self._goes_on = goes_on
        self._running: LoaderPass | None = None
        self._place: dict[str, int] | None = None
        self._has_ended = False

    def start(self, generator: torch.Generator) -> LoaderPass:
        """Start a pass, whose random numbers depend on ``generator``."""
        if self._has_ended:  # a DataLoader that is told that its pass has ended makes two iterators, which both draw a seed
            self._has_ended = False
            with seeded(0):
                iter(self._loader)
        return LoaderPass(self._loader, int(torch.randint(2**31, (), generator=generator)))

    def running(self, generator: torch.Generator) -> LoaderPass:
        """Return the pass that goes on over epochs, at its place; a new one where there is none."""
        if self._running is None:
            self._running = self.start(generator) if self._place is None else self._again(**self._place)
        return self._running

    def end(self) -> None:
        """End the pass that goes on over epochs."""
        self._running = None

    def state_dict(self) -> dict[str, Any]:
        """Return where the passes are; see :meth:`.LoaderBatches.state_dict`."""
        state: dict[str, Any] = {}
        if self._goes_on and self._running is not None:
            state |= {key: getattr(self._running, key) for key in _PLACE}
        if has_state(self._loader):
            state["loader"] = state_of(self._loader)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`; see :meth:`.LoaderBatches.load_state_dict`."""
        if "seed" in state:
            named = {key: check_number(key, state.get(key), low=0, high=LARGEST, whole=True) for key in _PLACE}
            self._place = {**named, "wound": "loader" in state}
        if "loader" in state:
            self._loader.load_state_dict(state["loader"])
            self._has_ended = not self._goes_on and isinstance(self._loader, DataLoader)

    def _again(self, seed: int, taken: int, examples: int, wound: int) -> LoaderPass:
        """The pass that was interrupted, at its batch; a loader with a state of its own has wound itself forward."""
        self._place = None
        passing = LoaderPass(self._loader, seed)
        for _ in range(0 if wound else taken):
            next(passing, None)
        passing.taken, passing.examples = taken, examples
        return passing
