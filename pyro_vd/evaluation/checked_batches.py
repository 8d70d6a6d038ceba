"""Data that are measured batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd.data.examples import ExampleBatches
from pyro_vd.data.given import in_order
from pyro_vd.data.mapped import MappedExamples
from pyro_vd.data.pairs import inputs_in, pair_in
from pyro_vd.data.reading import reading_batch
from pyro_vd.networks.checks import dtype_of

Check = Callable[[str, Any], Any]
"""Returns what is measured of a batch after a check of it, given its name for errors."""
_END = object()


class CheckedBatches:
    """The batches of one pass over data, which can be iterated over again; each is checked when it is read.

    Args:
        name: what errors call the data.
        batches: gives the batches of one pass.
        check: returns inputs and observations of a batch, given its name and a pair of tensors.
        target: see :class:`~pyro_vd.data.LoaderBatches`.
        dtype: type of floating-point inputs.
        pairs: whether batches are pairs of inputs and observations, or inputs alone.
    """

    def __init__(
        self,
        name: str,
        batches: Callable[[], Iterator[Any]],
        check: Check,
        target: str | None,
        dtype: torch.dtype | None,
        pairs: bool = True,
    ) -> None:
        self._name, self._batches, self._check = name, batches, check
        self._target, self._dtype, self._taken = target, dtype, pair_in if pairs else inputs_in

    def __iter__(self) -> Iterator[Any]:
        """Yield what ``check`` returns of each batch.

        Raises:
            InputError: a batch cannot be read or is not valid, or there is none.
        """
        with reading_batch(self._name):
            drawn = self._batches()
        for number in itertools.count(1):
            where = f"{self._name}, batch {number}"
            with reading_batch(where):
                batch = next(drawn, _END)
                if batch is _END:
                    break
                batch = self._taken(batch, self._target, self._dtype)
            yield self._check(where, batch)
        if number == 1:
            raise InputError(f"{self._name}: there is no batch", name=self._name, value=0, allowed="at least one batch")


def checked_batches(
    name: str, data: Any, check: Check, dtype: torch.dtype | None, target: str | None = None, pairs: bool = True
) -> CheckedBatches | None:
    """Return the batches of data that are read batch by batch; None for data in memory.

    Raises:
        InputError: the data can be iterated over only once.
    """
    if not pairs and isinstance(data, tuple | list):
        return None
    with reading_batch(name):
        batches = in_order(ExampleBatches(MappedExamples(data)) if isinstance(data, np.memmap) else data, target, dtype)
    target = getattr(data, "target", target)
    return None if batches is None else CheckedBatches(name, batches, check, target, dtype, pairs)


def network_dtype(net: object) -> torch.dtype | None:
    """The type of floating-point inputs of a network or a guide; None for another predictor, which takes any type."""
    return dtype_of(net) if isinstance(net, nn.Module) else None
