"""Batches that a network cannot be trained on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyro_vd.errors import InputError

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork


@torch.no_grad()
def check_batches(x: Tensor, batch_size: int, model: BayesianNetwork) -> None:
    """Refuse batches of one example, the last of an epoch above all, where batch normalisation is left one number a channel.

    Raises:
        InputError: quoting the number of examples and the batch size.
    """
    if 1 not in (batch_size, len(x) % batch_size):
        return

    def check(norm: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        if output.numel() == output.shape[1]:
            raise InputError(
                f"{len(x)} examples with batch_size (={batch_size}) make a batch of one, and {type(norm).__name__} cannot be "
                "trained on one number a channel; take a batch_size that leaves more for the last batch, or an example less"
            )

    net: nn.Module = copy.deepcopy(model).train().net
    for module in net.modules():
        if isinstance(module, _BatchNorm) and module.training:
            module.register_forward_hook(check)
    net.eval()(x[:1])
