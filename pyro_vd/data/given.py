"""Which kind of batches was given to a function that takes data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.utils.data
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.data.batches import DEFAULT_BATCH_SIZE, Batches, TensorBatches
from pyro_vd.data.dataset import Dataset
from pyro_vd.data.examples import ExampleBatches, collated
from pyro_vd.data.loaders import LoaderBatches
from pyro_vd.data.mapped import MappedExamples, has_mapped

_OWN = (LoaderBatches, ExampleBatches)


def batches_from(
    data: Any,
    batch_size: int | None = None,
    num_examples: int | None = None,
    steps_per_epoch: int | None = None,
    target: str | None = None,
    dtype: torch.dtype | None = None,
) -> Batches | None:
    """Return data that come in batches, or that are read in batches; None for data in memory, which are taken as a whole.

    Args:
        data: a ``DataLoader``, a data set of torch or of Hugging Face, a pair with a memory-mapped array, a list of batches or
            another object that can be iterated over, or :class:`~pyro_vd.data.Batches`. In memory are a pair of arrays, a
            :class:`~pyro_vd.Dataset`, and a ``TensorDataset`` or a part of one.
        batch_size: the examples per batch, where the data do not come in batches; None for 100.
        num_examples, steps_per_epoch, target: see :class:`LoaderBatches`. A list is a list of batches if ``num_examples`` is
            given, otherwise a pair.
        dtype: type of floating-point inputs; None keeps their type.

    Raises:
        InputError: an argument that these data do not take, or that is out of range.
    """
    given = {"batch_size": batch_size, "num_examples": num_examples, "steps_per_epoch": steps_per_epoch, "target": target}
    taken = _takes(data, num_examples is not None)
    for name, value in given.items():
        if value is not None and name not in taken:
            kind = type(data).__name__
            reason = f"{kind} has batches of its own size" if name == "batch_size" else f"{kind} does not take it"
            raise InputError(name=name, value=value, allowed=f"left out: {reason}")
    size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
    if isinstance(data, _OWN):
        return data.restarted(dtype)
    if isinstance(data, Batches):
        return data
    if isinstance(data, torch.utils.data.IterableDataset):
        data = torch.utils.data.DataLoader(data, size, collate_fn=collated)
    if "steps_per_epoch" in taken:
        return LoaderBatches(data, num_examples, steps_per_epoch, target).restarted(dtype)
    if _is_pair(data):
        is_mapped = len(data) == 2 and has_mapped(data)
        return ExampleBatches(MappedExamples(*data), size, dtype=dtype) if is_mapped else None
    return ExampleBatches(data, size, target, dtype) if "target" in taken else None


def in_order(data: Any, target: str | None = None, dtype: torch.dtype | None = None) -> Callable[[], Iterator[Any]] | None:
    """Return a function that gives the batches of one pass over the data, in their order; None for data in memory.

    The arguments are those of :func:`batches_from`; data that have no ``target`` ignore it.
    """
    if isinstance(data, TensorBatches):
        return lambda: iter([(data.x, data.y)])
    batches = batches_from(data, target=target if "target" in _takes(data, False) else None, dtype=dtype)
    if batches is None:
        return None
    return batches.in_order if isinstance(batches, _OWN) else lambda: batches.epoch(torch.Generator().manual_seed(0))


def _takes(data: Any, in_batches: bool) -> tuple[str, ...]:
    """The names of the arguments that data take beside themselves; ``in_batches`` says that a list is one of batches."""
    if isinstance(data, _OWN) or (isinstance(data, Batches) and not isinstance(data, torch.utils.data.DataLoader)):
        return ()
    of_loader = ("num_examples", "steps_per_epoch", "target")
    if isinstance(data, torch.utils.data.IterableDataset):
        return ("batch_size", *of_loader)
    if isinstance(data, torch.utils.data.DataLoader) or (in_batches and _is_listed(data)):
        return of_loader
    if _is_pair(data) or _in_memory(data):
        return ("batch_size",)
    if not in_batches and hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return ("batch_size", "target")
    return of_loader if hasattr(data, "__iter__") else ("batch_size",)


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list)


def _is_listed(data: Any) -> bool:
    return hasattr(data, "__iter__") and not isinstance(data, tuple | Mapping | str | bytes | Tensor | Dataset)


def _in_memory(data: Any) -> bool:
    """Whether it is taken as a whole, or is nothing that can be trained on, which is said where it is taken."""
    while isinstance(data, torch.utils.data.Subset):
        data = data.dataset
    kinds = (Dataset, torch.utils.data.TensorDataset, Mapping, set, frozenset, str, bytes, Tensor, type)
    return isinstance(data, kinds) or hasattr(data, "__array__")
