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
from pyro_vd.inference.handlers import own_parameters
from pyro_vd.models.data_checks import check_data
from pyro_vd.networks.inputs import num_examples, rows, tensors_in, to_device
from pyro_vd.networks.norms import normalises_over_batch

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork

_NAME = "training data"


def batches_of(train: Data | Batches, batch_size: int | None, model: BayesianNetwork) -> Batches:
    """The batches of a training: those that were given, or those of tensors in memory.

    Raises:
        InputError: data that do not fit the model or its likelihood; batches with a ``batch_size`` besides their own, or
            without an example.
    """
    if isinstance(train, Batches):
        if batch_size is not None:
            kind = type(train).__name__
            raise InputError(name="batch_size", value=batch_size, allowed=f"left out: {kind} has batches of its own size")
        return _checked(train, model)
    size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
    return TensorBatches(*check_data(_NAME, train, model, size, "train"), size)


def _checked(train: Batches, model: BayesianNetwork) -> Batches:
    if type(train) is TensorBatches:
        return TensorBatches(*check_data(_NAME, (train.x, train.y), model, train.batch_size), train.batch_size)
    check_number(f"{_NAME}: num_examples", train.num_examples, low=1, high=LARGEST, whole=True)
    if len(train) < 1:
        raise InputError(name=type(train).__name__, value=f"{len(train)} batches", allowed="at least one batch per epoch")
    x, y = _first_of(train)
    x, y = as_tuples(x), as_tuples(y)
    taken = check_data(_NAME, (x, y), model, num_examples(x))[1]
    if isinstance(taken, Tensor) and (taken.dtype != y.dtype or taken.shape != y.shape):
        raise InputError(
            f"{_NAME}: the batches hold observations of type {y.dtype} and shape {tuple(y.shape)}; the likelihood wants "
            f"{taken.dtype} and {tuple(taken.shape)}",
            name=_NAME,
            value=(y.dtype, tuple(y.shape)),
            allowed=f"{taken.dtype} and {tuple(taken.shape)}",
        )
    return train


def _first_of(batches: Batches) -> Arrays:
    """The first batch of some epoch, of batches of the user's own."""
    batch: object = next(iter(batches.epoch(torch.Generator().manual_seed(0))), None)
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(any(True for _ in tensors_in(each)) for each in batch)):
        raise InputError(
            f"{_NAME}: the first batch of {type(batches).__name__} is {quoted(batch)}; it must be a pair of tensors, inputs "
            "and observations; several inputs are a tuple or a mapping of tensors",
            name=_NAME,
            value=batch,
            allowed="a pair of tensors, inputs and observations",
        )
    return batch[0], batch[1]


@torch.no_grad()
def check_batches(batches: Batches, model: BayesianNetwork) -> Arrays:
    """Run the model in training mode on the first batch, and on a last one of another size, with the weights that it came with.

    It runs as modules and buffers of its own, and leaves the random state as it was.

    Returns:
        The first batch, on the model's device, in the order in which tensors in memory are given.

    Raises:
        InputError: an output in training mode that the likelihood cannot take; a batch that does not fit the network or its
            likelihood; a batch of one example where batch normalisation is left one number per channel.
    """
    tried = model.apart().train()
    weights = tried.initial_weights
    device = next(iter(weights.values())).device
    if type(batches) is TensorBatches:
        n, size = batches.num_examples, batches.batch_size
        examples = f"{n} examples with batch_size (={size}) make a batch of"
        needs_all = f"; one that needs all examples at once takes batch_size={n}"
        tries = [
            (rows(batches.x, slice(k)), rows(batches.y, slice(k))) for k in dict.fromkeys((min(size, n), n % size or size))
        ]
    else:
        n, examples, needs_all = batches.num_examples, f"{type(batches).__name__} gives a batch of", ""
        tries = [_first_of(batches)]
    tries = [to_device(each, device) for each in tries]
    for x, y in tries:
        with own_parameters(), generators_kept(device), _watched(tried.net, examples):
            try:
                poutine.condition(tried, data=weights)(x, y)
            except InputError:
                raise
            except Exception as error:  # a forward of the user's own can raise anything
                raise InputError(
                    f"{_NAME}: {examples} {num_examples(x)}, which does not fit the network in training mode: "
                    f"{one_line(error)}{'' if num_examples(x) == n else needs_all}",
                    name=_NAME,
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
                name=_NAME,
                value=1,
                allowed="batches of more than one example",
            )

    with ExitStack() as hooks:
        for module in net.modules():
            if normalises_over_batch(module):
                hooks.enter_context(module.register_forward_pre_hook(check_norm))
        yield
