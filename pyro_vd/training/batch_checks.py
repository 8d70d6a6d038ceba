"""Checks of the batches that a training will take, before the first epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pyro.poutine as poutine
import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd._core.messages import one_line, quoted
from pyro_vd.data.batches import DEFAULT_BATCH_SIZE, Batches, TensorBatches
from pyro_vd.data.dataset import Arrays, Data, as_tuples
from pyro_vd.data.examples import ExampleBatches
from pyro_vd.data.given import batches_from
from pyro_vd.data.loaders import LoaderBatches
from pyro_vd.data.reading import reading_batch
from pyro_vd.inference.handlers import own_parameters
from pyro_vd.models.data_checks import check_data
from pyro_vd.networks.checks import dtype_of
from pyro_vd.networks.inputs import num_examples, rows, tensors_in, to_device
from pyro_vd.networks.norms import normalises_over_batch
from pyro_vd.training.spec import TrainingSpec
from pyro_vd.training.state import TRAINING_DATA

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork


def batches_of(train: Data | Batches, spec: TrainingSpec, model: BayesianNetwork) -> tuple[Batches, Arrays | None]:
    """The batches of a training, and the first one of those that are read during the training; None for tensors in memory.

    Of tensors in memory everything is checked here, of other batches the first one.

    Args:
        train: the data, in any form that :func:`~pyro_vd.fit` takes.
        spec: the settings of the training, some of which are about the data.
        model: the Bayesian network.

    Raises:
        InputError: data that do not fit the model or its likelihood; arguments that the data do not take; or batches without an
            example, or whose number is not known.
    """
    with reading_batch(TRAINING_DATA):
        said = spec.batch_size, spec.num_examples, spec.steps_per_epoch, spec.target
        batches = batches_from(train, *said, dtype=dtype_of(model))
    if batches is None:
        size = DEFAULT_BATCH_SIZE if spec.batch_size is None else spec.batch_size
        return TensorBatches(*check_data(TRAINING_DATA, train, model, size, "train"), size), None
    if type(batches) is TensorBatches:
        x, y = check_data(TRAINING_DATA, (batches.x, batches.y), model, batches.batch_size)
        return TensorBatches(x, y, batches.batch_size), None
    with reading_batch(TRAINING_DATA):
        check_number(f"{TRAINING_DATA}: num_examples", batches.num_examples, low=1, high=LARGEST, whole=True)
        if len(batches) < 1:
            raise InputError(
                name=type(batches).__name__, value=f"{len(batches)} batches", allowed="at least one batch per epoch"
            )
    x, y = _first_of(batches)
    return batches, check_data(TRAINING_DATA, (x, y), model, num_examples(x))


def _first_of(batches: Batches) -> Arrays:
    """The first batch of some epoch."""
    with reading_batch(f"{TRAINING_DATA}, the first batch"):
        if isinstance(batches, LoaderBatches):
            batch: object = batches.first()
        else:
            batch = next(iter(batches.epoch(torch.Generator().manual_seed(0))), None)
    if batch is None:
        kind = type(batches.loader if isinstance(batches, LoaderBatches) else batches).__name__
        raise InputError(
            f"{TRAINING_DATA}: an epoch of the {kind} has no batch", name=TRAINING_DATA, value=0, allowed="at least one batch"
        )
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(any(True for _ in tensors_in(each)) for each in batch)):
        raise InputError(
            f"{TRAINING_DATA}: the first batch of {type(batches).__name__} is {quoted(batch)}; it must be a pair of tensors, "
            "inputs and observations; several inputs are a tuple or a mapping of tensors",
            name=TRAINING_DATA,
            value=batch,
            allowed="a pair of tensors, inputs and observations",
        )
    return as_tuples(batch[0]), as_tuples(batch[1])


@torch.no_grad()
def check_batches(batches: Batches, model: BayesianNetwork, first: Arrays | None = None) -> Arrays:
    """Run the model in training mode on the first batch, and on a last one of another size, with the weights that it came with.

    It runs as modules and buffers of its own, and leaves the random state as it was.

    Args:
        batches: the batches.
        model: the Bayesian network.
        first: the first batch; None for tensors in memory.

    Returns:
        The first batch, on the model's device, in the order in which tensors in memory are given.

    Raises:
        InputError: an output in training mode that the likelihood cannot take; a batch that does not fit the network or its
            likelihood; a batch of one example where batch normalisation is left one number per channel.
    """
    tried = model.apart().train()
    weights = tried.initial_weights
    device = next(iter(weights.values())).device
    n = batches.num_examples
    sizes: tuple[int, ...] = (n,)
    if isinstance(batches, TensorBatches | ExampleBatches):
        size = batches.batch_size
        among = f", shared by {batches.shard.size} processes," if batches.shard.size > 1 else ""
        examples = f"{n} examples with batch_size (={size}){among} make a batch of"
        needs_all = f"; one that needs all examples at once takes batch_size={n}"
        sizes = tuple(batches.shard.share(k) for k in (min(size, n), n % size or size))
    else:
        examples, needs_all = f"{type(batches).__name__} gives a batch of", ""
        if isinstance(batches, LoaderBatches) and batches.last_size is not None:
            sizes = n, batches.last_size
    x, y = (batches.x, batches.y) if isinstance(batches, TensorBatches) and first is None else first or _first_of(batches)
    tries = [(rows(x, slice(k)), rows(y, slice(k))) for k in dict.fromkeys(sizes) if k]
    tries = [to_device(each, device) for each in tries]
    for x, y in tries:
        with own_parameters(), generators_kept(device), _watched(tried.net, examples):
            try:
                poutine.condition(tried, data=weights)(x, y)
            except InputError:
                raise
            except Exception as error:  # a forward of the user's own can raise anything
                raise InputError(
                    f"{TRAINING_DATA}: {examples} {num_examples(x)}, which does not fit the network in training mode: "
                    f"{one_line(error)}{'' if num_examples(x) == n else needs_all}",
                    name=TRAINING_DATA,
                    value=num_examples(x),
                ) from error
    return tries[0]


@contextmanager
def _watched(net: nn.Module, examples: str) -> Iterator[None]:
    def check_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if (norm.training or norm._buffers.get("running_mean") is None) and inputs[0].numel() == inputs[0].shape[1]:
            raise InputError(
                f"{examples} one, and {type(norm).__name__} cannot be trained on one number per channel; take "
                "a batch_size that leaves more for the last batch, or leave one example out",
                name=TRAINING_DATA,
                value=1,
                allowed="batches of more than one example",
            )

    with ExitStack() as hooks:
        for module in net.modules():
            if normalises_over_batch(module):
                hooks.enter_context(module.register_forward_pre_hook(check_norm))
        yield
