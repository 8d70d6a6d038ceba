"""One pass over a loader, whose random numbers depend on one seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from pyro_vd._core.generators import seeded


class LoaderPass:
    """An iterator over the batches of a loader.

    Args:
        loader: what is iterated over.
        seed: determines all random numbers that the loader draws, in worker processes too; see
            :class:`~pyro_vd.data.LoaderBatches`.

    Attributes:
        taken: the number of batches so far.
        examples: the number of their examples, which the user of the batches counts.
    """

    def __init__(self, loader: Any, seed: int) -> None:
        self.seed = seed
        self.taken: int = 0
        self.examples: int = 0
        for part in _parts(loader):
            if isinstance(own := getattr(part, "generator", None), torch.Generator):
                own.manual_seed(seed)
            if callable(start := getattr(part, "set_epoch", None)):
                start(seed)
        if getattr(loader, "persistent_workers", False):
            loader._iterator = None  # workers that go on would go on with their generators too
        with seeded(seed):
            self._batches: Iterator[Any] = iter(loader)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with seeded(self.seed + 1 + self.taken):
            batch = next(self._batches)
        self.taken += 1
        return batch


def _parts(loader: Any) -> list[Any]:
    """A loader, its samplers and its data set, each once."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    found = [loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)]
    found.append(getattr(loader, "dataset", None))
    return list({id(part): part for part in found if part is not None}.values())
