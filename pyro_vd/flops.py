"""What a network costs to store and to run: parameters, weights that are not zero, floating-point operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from pyro_vd.modes import in_evaluation_mode
from pyro_vd.networks import SUPPORTED_LAYERS, TRANSPOSED, named_weights


@dataclass(frozen=True)
class NetworkCost:
    """All parameters; weights of linear and convolution layers that are not zero; multiplications and additions an example.

    Those are of the weights of these layers where the layer is called: ``flops`` of all, ``effective_flops`` of those that are
    not zero.
    """

    parameters: int
    nonzero: int
    flops: int
    effective_flops: int


@torch.no_grad()
def network_cost(net: nn.Module, example: Tensor) -> NetworkCost:
    """The cost of a network in evaluation mode; ``example`` is one input, ``(1, …)``, on its device."""
    flops, effective = 0, 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal flops, effective
        weight = cast(Tensor, layer.weight)
        # The weight's first dimension is that of the maps at whose every position the kernel is applied.
        maps = given[0] if isinstance(layer, TRANSPOSED) else output
        positions = maps.numel() // len(weight)
        flops += 2 * weight.numel() * positions
        effective += 2 * int(torch.count_nonzero(weight)) * positions

    hooks = [layer.register_forward_hook(count) for layer in net.modules() if isinstance(layer, SUPPORTED_LAYERS)]
    try:
        with in_evaluation_mode(net):
            net(example)
    finally:
        for hook in hooks:
            hook.remove()
    nonzero = sum(int(torch.count_nonzero(weight)) for _, weight in named_weights(net))
    return NetworkCost(sum(parameter.numel() for parameter in net.parameters()), nonzero, flops, effective)
