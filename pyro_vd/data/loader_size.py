"""The number of examples that a loader draws from, and that one pass over it gives."""

from __future__ import annotations

from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset


def is_map_style(loader: Any) -> bool:
    """Whether it is a ``DataLoader`` of a data set with indices."""
    return isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset)


def distributed_sampler(loader: Any) -> Any:
    """Return the sampler of a ``DataLoader`` that chooses the examples of one of several processes; None if it has none.

    It is known by ``num_replicas`` and ``rank``, as torch's ``DistributedSampler`` has them.
    """
    for owner in (loader, getattr(loader, "batch_sampler", None)):
        for sampler in (owner, getattr(owner, "sampler", None)):
            if hasattr(sampler, "num_replicas") and hasattr(sampler, "rank"):
                return sampler
    return None


def sampled_examples(loader: Any) -> int | None:
    """Return the number of examples that a ``DataLoader`` chooses from; None if it does not say.

    It is the length of the sampler, such as that of a subset or of the shard of a process, and of the data set where the
    sampler draws examples several times or not all of them, and where batches have a sampler of their own without one inside.
    """
    if not isinstance(loader, DataLoader):
        return None
    source: Any = loader.dataset
    if is_map_style(loader):
        outer: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
        sampler = getattr(outer, "sampler", None)
        if loader.batch_sampler is None and sampler is None:
            return None  # the data set makes the batches, of any size
        if hasattr(sampler, "replacement"):  # RandomSampler, WeightedRandomSampler, and those of torchdata
            source = getattr(sampler, "weights", getattr(sampler, "data_source", source))
        elif sampler is not None:
            source = sampler
    elif loader.batch_size is None:
        return None
    try:
        return len(source)
    except (TypeError, NotImplementedError):
        return None


def pass_examples(loader: Any, given: int | None, steps: int | None) -> int | None:
    """Return the number of examples that one pass over a loader should give; None if it is not known.

    Args:
        loader: the loader.
        given: the number of examples that the user gave.
        steps: the number of batches per epoch that the user gave, if an epoch is not one pass.
    """
    if not is_map_style(loader):
        if isinstance(loader, DataLoader) and loader.drop_last:
            return None
        return None if steps is not None else given if given is not None else sampled_examples(loader)
    batches = loader.batch_sampler
    if given is not None or type(batches) is not BatchSampler:
        return None
    chosen: int = len(batches.sampler)  # type: ignore[arg-type]
    return chosen - chosen % batches.batch_size if batches.drop_last else chosen
