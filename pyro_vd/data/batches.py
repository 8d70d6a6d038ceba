"""What a training draws from: batches of tensors in memory, or of a class that a user writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pyro_vd._core.arguments import LARGEST, check_number, take
from pyro_vd._core.storage import checksum

DEFAULT_BATCH_SIZE = 100


@runtime_checkable
class Batches(Protocol):
    """What a training draws from.

    Any object with these members can be given to :func:`~pyro_vd.fit` in place of arrays, such as one around a
    ``torch.utils.data.DataLoader``; it need not inherit from this class. ``len`` is the number of batches per epoch.
    """

    @property
    def num_examples(self) -> int:
        """N, the number of examples per epoch: the log likelihood of a batch of B examples is multiplied by N / B."""

    def __len__(self) -> int: ...

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch: inputs ``(B, …)`` and observations ``(B, …)`` as the likelihood takes them.

        Args:
            generator: on the CPU, for the order of the examples. Its state is saved in checkpoints, so that a resumed training
                draws the same batches. Batches on another device than the model are moved.
        """

    def fingerprint(self) -> int | str:
        """Identify the data: equal in every process, and another for other data. Called where a checkpoint is written."""


@dataclass(frozen=True, eq=False)
class TensorBatches:
    """Tensors in memory, in a new random order in every epoch; the last batch may be smaller.

    :func:`~pyro_vd.fit` makes them of a pair of arrays, and checks the tensors.

    Raises:
        InputError: a batch size out of range.
    """

    x: Tensor
    """Inputs ``(n, …)``, floating point."""
    y: Tensor
    """Observations ``(n, …)``."""
    batch_size: int = DEFAULT_BATCH_SIZE
    """Examples per batch, at least 1."""

    def __post_init__(self) -> None:
        take(self, "batch_size", check_number("batch_size", self.batch_size, low=1, high=LARGEST, whole=True))

    def __repr__(self) -> str:
        return f"TensorBatches(x {tuple(self.x.shape)}, y {tuple(self.y.shape)}, batch_size={self.batch_size})"

    @property
    def num_examples(self) -> int:
        """The number of examples."""
        return len(self.x)

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch, in an order that ``generator`` draws."""
        order = torch.randperm(len(self.x), generator=generator, device="cpu").to(self.x.device)
        for chosen in order.split(self.batch_size):
            yield self.x[chosen], self.y[chosen]

    def fingerprint(self) -> int:
        """CRC-32 of all examples, in their order."""
        return checksum((self.x, self.y))

    def to(self, device: torch.device) -> TensorBatches:
        """The same batches, on a device."""
        return TensorBatches(self.x.to(device), self.y.to(device), self.batch_size)
