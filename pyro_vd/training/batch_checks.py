"""A try of the batches that a training will take, before the first epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pyro.poutine as poutine
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd._core.messages import one_line
from pyro_vd.inference.handlers import own_parameters

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork


@torch.no_grad()
def check_batches(x: Tensor, y: Tensor, batch_size: int, model: BayesianNetwork) -> None:
    """Run the model in training mode on a whole batch, and on a last one of another size, with the weights that it came with.

    It runs as modules and buffers of their own, and leaves the random state as it was.

    Raises:
        InputError: an output in training mode that is not one tensor; a batch that does not fit the network or its
            likelihood; a batch of one example where batch normalisation is left one number per channel.
    """
    examples = f"{len(x)} examples with batch_size (={batch_size})"
    tried = model.apart().train()
    weights = tried.initial_weights
    device = next(iter(weights.values())).device
    for size in dict.fromkeys((min(batch_size, len(x)), len(x) % batch_size or batch_size)):
        with own_parameters(), generators_kept(device), _watched(tried.net, examples):
            try:
                poutine.condition(tried, data=weights)(x[:size], y[:size])
            except InputError:
                raise
            except Exception as error:  # a forward of the user's own can raise anything
                whole = "" if size == len(x) else f"; one that needs all examples at once takes batch_size={len(x)}"
                raise InputError(
                    f"training data: {examples} make a batch of {size}, which does not fit the network in training mode: "
                    f"{one_line(error)}{whole}"
                ) from error


@contextmanager
def _watched(net: nn.Module, examples: str) -> Iterator[None]:
    def check_output(_: nn.Module, __: Any, output: object) -> None:
        if not isinstance(output, Tensor):
            raise InputError(
                f"training data: the network's output in training mode is a {type(output).__name__}; it must be one tensor. "
                "Switch off what gives more while it trains, such as auxiliary heads (aux_logits=False)"
            )

    def check_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if (norm.training or norm._buffers.get("running_mean") is None) and inputs[0].numel() == inputs[0].shape[1]:
            raise InputError(
                f"{examples} make a batch of one, and {type(norm).__name__} cannot be trained on one number per channel; take "
                "a batch_size that leaves more for the last batch, or an example less"
            )

    with ExitStack() as hooks:
        hooks.enter_context(net.register_forward_hook(check_output))
        for module in net.modules():
            if isinstance(module, _BatchNorm):
                hooks.enter_context(module.register_forward_pre_hook(check_norm))
        yield
