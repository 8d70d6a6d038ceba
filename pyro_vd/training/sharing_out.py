"""Several processes of one training: the same arguments in all of them, and a share of every batch for each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.storage import checksum
from pyro_vd.data.batches import UNKNOWN, Batches, TensorBatches
from pyro_vd.data.examples import ExampleBatches
from pyro_vd.data.loader_size import distributed_sampler
from pyro_vd.data.loaders import LoaderBatches
from pyro_vd.data.shards import WHOLE, Shard

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.training.processes import Processes
    from pyro_vd.training.spec import TrainingSpec


def check_same(processes: Processes, settings: dict[str, Any]) -> None:
    """Refuse settings that differ between processes.

    Raises:
        InputError: naming the first setting that differs, two ranks and their values.
    """
    found = processes.exchange(settings)
    for key in dict.fromkeys(key for each in found for key in each):
        for rank, each in enumerate(found):
            if each.get(key) != found[0].get(key):
                raise InputError(
                    f"the processes of a training have different arguments: {key} is {quoted(found[0].get(key), 300)} on rank "
                    f"0 and {quoted(each.get(key), 300)} on rank {rank}; it must be the same on all of them",
                    name=key,
                    value=settings.get(key),
                    allowed="the same on all ranks",
                )


def settings_of(spec: TrainingSpec, guide: WeightGuide, batches: Batches, shared: bool) -> dict[str, Any]:
    """What must be the same in all processes, as plain values.

    Args:
        spec: the settings of the training.
        guide: the guide, with its model.
        batches: the batches.
        shared: whether each process has data of its own, which may differ.
    """
    settings = spec.fingerprint(guide, batches, strict=False) | {"len(batches)": len(batches)}
    if shared:
        del settings["data"]
    for whole in (guide.model, guide):
        for name, tensor in (*whole.named_parameters(), *whole.named_buffers()):
            fixed = "" if tensor.requires_grad or tensor.is_floating_point() else f", CRC-32 {checksum([tensor])}"
            settings[f"{type(whole).__name__}.{name}"] = (
                f"{tensor.dtype} {tuple(tensor.shape)}{', trained' if tensor.requires_grad else fixed}"
            )
    return settings


def check_modules(guide: WeightGuide) -> None:
    """Refuse what several processes cannot train together by :func:`~pyro_vd.fit`.

    Raises:
        InputError: parameters that are spread over the processes; or a module that waits for the other processes in its forward
            pass, where one may have no examples, or an error.
    """
    for whole in (guide.model, guide):
        for name, parameter in whole.named_parameters():
            if type(parameter).__name__ == "DTensor":
                raise InputError(
                    f"parameter {name!r} is a DTensor, which is spread over the processes, as by fully_shard; fit needs whole "
                    "parameters in each process: write a loop of your own with elbo(model, guide)",
                    name=name,
                    value=type(parameter).__name__,
                    allowed="a parameter that is whole in every process",
                )
        for name, module in whole.named_modules():
            if isinstance(module, nn.SyncBatchNorm):
                raise InputError(
                    f"module {name!r} is a SyncBatchNorm, which waits for the other processes in its forward pass; in fit a "
                    "process may have no examples of the last batch, and the others would wait for ever: take BatchNorm, whose "
                    "statistics are those of each process, or write a loop of your own with "
                    "DistributedDataParallel(elbo(model, guide))",
                    name=name,
                    value=module,
                    allowed="no SyncBatchNorm",
                )


def shared_out(batches: Batches, processes: Processes) -> tuple[Batches, Shard]:
    """Give this process its share of the batches.

    Data in memory and data sets are cut here: each process reads its own examples. A loader with a distributed sampler gives
    those of its process, and so do loaders that begin with different examples in all processes. Of any others, which are the
    same in all processes, each reads everything.

    Returns:
        The batches, and the share that is to be taken of each of them; the whole where they are shares already.

    Raises:
        InputError: batches of fewer examples than there are processes; a sampler for other processes; or loaders of which
            cannot be known whether they are the same.
    """
    shard = processes.shard
    if processes.alone:
        return batches, WHOLE
    sampler = distributed_sampler(batches.loader) if isinstance(batches, LoaderBatches) else None
    check_same(processes, {"training data": type(batches).__name__, "with a distributed sampler": sampler is not None})
    if isinstance(batches, TensorBatches | ExampleBatches):
        least = min(batches.batch_size, batches.num_examples)
        if least < shard.size:
            raise InputError(
                name="batch_size", value=least, allowed=f"at least {shard.size}: each of so many processes takes a share of it"
            )
        return replace(batches, shard=shard), WHOLE
    if isinstance(batches, LoaderBatches) and sampler is not None:
        if (sampler.rank, sampler.num_replicas) != (shard.rank, shard.size):
            raise InputError(
                f"the sampler of the DataLoader is for rank {sampler.rank} of {sampler.num_replicas}; this process is rank "
                f"{shard.rank} of {shard.size}",
                name="sampler",
                value=(sampler.rank, sampler.num_replicas),
                allowed=f"for rank {shard.rank} of {shard.size}",
            )
        return batches.of_all_processes(), WHOLE
    if not _differ(batches, processes):
        return batches, shard
    return batches.of_all_processes() if isinstance(batches, LoaderBatches) else batches, WHOLE


def _differ(batches: Batches, processes: Processes) -> bool:
    """Whether each process has a loader of its own share; otherwise all have the same.

    Raises:
        InputError: neither can be known; or the shares do not say how many examples there are in all of them.
    """
    prints = [str(each) for each in processes.exchange(batches.fingerprint())]
    different = len(set(prints))
    if any(each.endswith(UNKNOWN) for each in prints) or different not in (1, len(prints)):
        listed = "; ".join(f"rank {rank}: {each}" for rank, each in enumerate(prints))
        raise InputError(
            f"it cannot be known which examples each process trains on: {listed}. Either the loaders of all processes must "
            "give the same batches, or each must be split by rank, as by torch's DistributedSampler or by "
            "datasets.distributed.split_dataset_by_node; and a loader must begin with the same examples whenever it is read",
            name="training data",
            value=prints,
            allowed="the same on all ranks, or split by rank",
        )
    if different > 1 and isinstance(batches, LoaderBatches) and batches.says_number:
        raise InputError(
            f"num_examples is missing: rank {processes.shard.rank} of {processes.shard.size} has a loader of its own examples, "
            f"{batches.num_examples} of them; give the number of the examples of all processes, as in "
            "fit(guide, loader, num_examples=50_000)",
            name="num_examples",
            allowed="given",
        )
    return different > 1
