"""What a training draws from: batches of tensors in memory, or of a class that a user writes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pyro_vd._core.arguments import LARGEST, check_number, take
from pyro_vd._core.storage import checksum
from pyro_vd.data.dataset import Arrays
from pyro_vd.data.shards import WHOLE, Shard
from pyro_vd.networks.inputs import (
    Inputs,
    device_of,
    map_leaves,
    map_tensors,
    named_leaves,
    num_examples,
    shapes_of,
    to_device,
)

DEFAULT_BATCH_SIZE = 100
UNKNOWN = "unknown"
"""What :func:`fingerprint_of` ends with where data are random, or cannot be read here."""
_PLAIN = (str, int, float, type(None))


@runtime_checkable
class Batches(Protocol):
    """What a training draws from.

    Any object with these members can be given to :func:`~pyro_vd.fit` in place of arrays, such as one around a
    source of data that :class:`~pyro_vd.data.LoaderBatches` does not take; it need not inherit from this class. ``len`` is the
    number of batches per epoch. What :class:`StatefulBatches` say is saved in checkpoints.
    """

    @property
    def num_examples(self) -> int:
        """N, the number of examples per epoch: the log likelihood of a batch of B examples is multiplied by N / B."""

    def __len__(self) -> int: ...

    def epoch(self, generator: torch.Generator) -> Iterator[Arrays]:
        """Yield the batches of one epoch: inputs ``(B, …)`` and observations ``(B, …)`` as the likelihood takes them.

        Several inputs are a tuple, a list or a mapping of tensors, such as a batch of Hugging Face.

        Args:
            generator: on the CPU, for the order of the examples. Its state is saved in checkpoints, so that a resumed training
                draws the same batches. Batches on another device than the model are moved.
        """

    def fingerprint(self) -> int | str:
        """Identify the data: equal in every process, and another for other data. Called where a checkpoint is written."""


@runtime_checkable
class StatefulBatches(Protocol):
    """Batches that go on over epochs, and say where they are."""

    def state_dict(self) -> dict[str, Any]:
        """Return where they are after a complete epoch, as plain values and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`."""


@dataclass(frozen=True, eq=False)
class TensorBatches:
    """Tensors in memory, in a new random order in every epoch; the last batch may be smaller.

    :func:`~pyro_vd.fit` makes them of a pair of arrays, and checks the tensors.

    Raises:
        InputError: a batch size out of range.
    """

    x: Inputs
    """Inputs ``(n, …)``; several are a tuple or a mapping of tensors, on one device."""
    y: Any
    """Observations ``(n, …)``."""
    batch_size: int = DEFAULT_BATCH_SIZE
    """Examples per batch, at least 1; of all processes together, where several train."""
    shard: Shard = WHOLE
    """The share of this process in every batch."""

    def __post_init__(self) -> None:
        take(self, "batch_size", check_number("batch_size", self.batch_size, low=1, high=LARGEST, whole=True))

    def __repr__(self) -> str:
        return f"TensorBatches(x {shapes_of(self.x)}, y {shapes_of(self.y)}, batch_size={self.batch_size})"

    @property
    def num_examples(self) -> int:
        """The number of examples."""
        return num_examples(self.x)

    def __len__(self) -> int:
        return -(-self.num_examples // self.batch_size)

    def epoch(self, generator: torch.Generator) -> Iterator[Arrays]:
        """Yield the batches of one epoch, in an order that ``generator`` draws."""
        order = torch.randperm(self.num_examples, generator=generator, device="cpu").to(device_of(self.x))
        for batch in order.split(self.batch_size):
            chosen = batch[self.shard.part(len(batch))]
            yield _chosen(self.x, chosen), _chosen(self.y, chosen)

    def fingerprint(self) -> int:
        """CRC-32 of all examples, in their order; the order of the keys of a mapping does not count."""
        return _checksum(self.y, _checksum(self.x))

    def to(self, device: torch.device) -> TensorBatches:
        """The same batches, on a device."""
        return replace(self, x=to_device(self.x, device), y=to_device(self.y, device))


def _chosen(x: Any, places: Tensor) -> Any:
    """The examples at these places; of contiguous tensors by index_select, which takes half the time."""
    return map_tensors(lambda tensor: tensor.index_select(0, places) if tensor.is_contiguous() else tensor[places], x)


def _checksum(x: Any, value: int = 0) -> int:
    """CRC-32 of tensors, of their names where there are several, and of the flags beside them."""
    for name, leaf in sorted(named_leaves(x), key=lambda pair: pair[0]):
        text = name if isinstance(leaf, Tensor) else f"{name}={leaf!r}" if isinstance(leaf, _PLAIN) else ""
        value = zlib.crc32(text.encode(), value)  # of no text, the value stays
        value = checksum([leaf], value) if isinstance(leaf, Tensor) else value
    return value


def fingerprint_of(source: Any, size: int, some: Callable[[], Any]) -> str:
    """Identify data that are not read as a whole: by their type, their size, and the CRC-32 of some of them.

    Args:
        source: the data.
        size: their number of examples.
        some: reads some of them, the same in each call. If two calls differ, they are random, and do not count; nor do examples
            that cannot be read here, such as those of a data set that is opened in worker processes.
    """
    try:
        found = {_checksum(map_leaves(_as_tensor, some())) for _ in range(2)}
    except Exception:  # a data set of the user's own can raise anything; where it is read to be trained on, that is said
        found = set()
    return f"{type(source).__qualname__} of {size}: {found.pop() if len(found) == 1 else UNKNOWN}"


def _as_tensor(leaf: Any) -> Any:
    return torch.from_numpy(leaf.copy()) if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fiub" else leaf
