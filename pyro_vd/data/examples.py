"""Batches of a data set whose examples are read when they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.utils.data
from torch import Tensor

from pyro_vd._core.arguments import LARGEST, check_number, take
from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import seeded
from pyro_vd._core.messages import one_line
from pyro_vd.data.batches import DEFAULT_BATCH_SIZE, fingerprint_of
from pyro_vd.data.dataset import Arrays
from pyro_vd.data.pairs import pair_in
from pyro_vd.data.shards import WHOLE, Shard
from pyro_vd.networks.input_checks import holds_numbers
from pyro_vd.networks.inputs import rows


@dataclass(frozen=True, eq=False)
class ExampleBatches:
    """A map-style data set, such as one of torch or of Hugging Face, in a new random order in every epoch.

    Only the examples of one batch are in memory. The order for a seed is that of
    :class:`~pyro_vd.data.TensorBatches`. Random numbers that are drawn while a batch is read, with the generators of torch,
    NumPy or Python, depend on the generator of the epoch alone.

    Raises:
        InputError: a batch size out of range.
    """

    dataset: Any
    """``len(dataset)`` examples: ``dataset[k]`` is a pair of an input and an observation, or a mapping; lists of numbers are
    taken as tensors. A method ``__getitems__`` of several indices is used where there is one."""
    batch_size: int = DEFAULT_BATCH_SIZE
    """Examples per batch, at least 1; the last batch may be smaller."""
    target: str | None = None
    """The key of the observation in an example that is a mapping; None for "target" or "labels"."""
    dtype: torch.dtype | None = None
    """Type of floating-point inputs, as the network has it; None keeps their type."""
    shard: Shard = WHOLE
    """The share of this process in every batch; only its examples are read."""

    def __post_init__(self) -> None:
        take(self, "batch_size", check_number("batch_size", self.batch_size, low=1, high=LARGEST, whole=True))

    def __repr__(self) -> str:
        return f"ExampleBatches({type(self.dataset).__name__} of {self.num_examples} examples, batch_size={self.batch_size})"

    def restarted(self, dtype: torch.dtype | None = None) -> ExampleBatches:
        """The same batches with floating-point inputs of this type; None keeps their type."""
        return replace(self, dtype=dtype)

    @property
    def num_examples(self) -> int:
        """The number of examples."""
        return len(self.dataset)

    def __len__(self) -> int:
        return -(-self.num_examples // self.batch_size)

    def epoch(self, generator: torch.Generator) -> Iterator[Arrays]:
        """Yield the batches of one epoch, in an order that ``generator`` draws.

        Raises:
            InputError: an example cannot be read, or a batch of them is no pair of tensors.
        """
        apart = torch.Generator().set_state(generator.get_state())  # the generator draws the order alone, as for tensors
        order = torch.randperm(self.num_examples, generator=generator, device="cpu")
        seed = int(torch.randint(2**31, (), generator=apart))
        pairs = ((pair_in(batch, self.target, self.dtype), share) for batch, share in self._read(order, seed, self.shard))
        return (pair if share else rows(pair, slice(0)) for pair, share in pairs)

    def in_order(self) -> Iterator[Any]:
        """Yield all batches in the order of the examples, as they are read."""
        return (batch for batch, _ in self._read(torch.arange(self.num_examples), 0, WHOLE))

    def fingerprint(self) -> str:
        """Identify the data by their type, their number and three examples; data on disk are not read as a whole."""
        return fingerprint_of(self.dataset, self.num_examples, lambda: some_examples(self.dataset))

    def _read(self, order: Tensor, seed: int, shard: Shard) -> Iterator[tuple[Any, int]]:
        """The share of a process in every batch, and its size; where that is 0, one example tells the form."""
        for number, batch in enumerate(order.split(self.batch_size)):
            chosen = batch[shard.part(len(batch))]
            with seeded(seed + number * shard.size + shard.rank):
                examples = _examples(self.dataset, (chosen if len(chosen) else batch[:1]).tolist())
            yield collated(examples), len(chosen)


def collated(examples: list[Any]) -> Any:
    """Return a batch of examples, as ``torch.utils.data.default_collate`` makes it of lists of numbers as tensors.

    Raises:
        InputError: the examples are not tensors, arrays and numbers of the same shapes.
    """
    try:
        return torch.utils.data.default_collate([_with_tensors(example) for example in examples])
    except (TypeError, RuntimeError, NotImplementedError, ValueError, KeyError) as error:
        raise InputError(
            f"the examples do not fit into tensors of one shape: {one_line(error)}; a DataLoader with a "
            "collate_fn can fill them up",
            name="examples",
            value=examples,
        ) from error


def some_examples(dataset: Any) -> list[Any]:
    """Return the first, the middle and the last example of a data set, the same in each call unless they are random."""
    n = len(dataset)
    with seeded(0):
        return _examples(dataset, sorted({0, n // 2, n - 1}))


def _examples(dataset: Any, indices: list[int]) -> list[Any]:
    if several := getattr(dataset, "__getitems__", None):
        return list(several(indices))
    found = []
    for index in indices:
        try:
            found.append(dataset[index])
        except Exception as error:  # a data set of the user's own can raise anything
            raise InputError(
                f"example {index} of a {type(dataset).__name__} cannot be read: {type(error).__name__}: {one_line(error)}",
                name="dataset",
                value=index,
            ) from error
    return found


def _with_tensors(example: Any) -> Any:
    """An example with tensors in the place of lists of numbers, each of which ``default_collate`` would take apart."""
    if isinstance(example, Mapping):
        return {key: _with_tensors(part) for key, part in example.items()}
    if isinstance(example, tuple):
        return tuple(map(_with_tensors, example))
    if isinstance(example, list):
        return torch.tensor(example) if holds_numbers(example) else [_with_tensors(part) for part in example]
    return example
