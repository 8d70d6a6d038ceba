"""What a network costs to store and to run: parameters, weights that are not zero, floating-point operations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pyro_vd.networks.layers import SUPPORTED_LAYERS, TRANSPOSED
from pyro_vd.networks.modes import in_evaluation_mode
from pyro_vd.networks.sizes import layer_sizes


@dataclass(frozen=True)
class NetworkCost:
    """All parameters; weights that are not zero, of two dimensions or more; multiplications and additions per example.

    Those are of every product of matrices and every convolution that the network carries out, recurrent layers and attention
    included, as :class:`torch.utils.flop_counter.FlopCounterMode` counts them: ``flops`` of all; ``effective_flops`` without
    those of weights that are zero, where a linear layer or a convolution is called. Sums, activations, normalisation and
    pooling are not counted.
    """

    parameters: int
    nonzero: int
    flops: int
    effective_flops: int


@torch.no_grad()
def network_cost(net: nn.Module, example: Tensor) -> NetworkCost:
    """The cost of a network in evaluation mode; ``example`` is one input, ``(1, …)``, on its device."""
    saved = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal saved
        weight = cast(Tensor, layer.weight)
        # The weight's first dimension is that of the maps at whose every position the kernel is applied.
        maps = given[0] if isinstance(layer, TRANSPOSED) else output
        saved += 2 * int((weight == 0).sum()) * (maps.numel() // len(weight))

    hooks = [layer.register_forward_hook(count) for layer in net.modules() if isinstance(layer, SUPPORTED_LAYERS)]
    try:
        with in_evaluation_mode(net), _in_single_products(), FlopCounterMode(display=False) as counter:
            net(example)
    finally:
        for hook in hooks:
            hook.remove()
    nonzero = sum(layer.nonzero for layer in layer_sizes(net))
    flops = counter.get_total_flops()
    return NetworkCost(sum(parameter.numel() for parameter in net.parameters()), nonzero, flops, flops - saved)


@contextmanager
def _in_single_products() -> Iterator[None]:
    """Recurrent layers and attention as products of matrices: what does them as a whole is not counted."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TF32 acceleration", UserWarning)
            flags = torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False)
            with flags[0], flags[1], sdpa_kernel(SDPBackend.MATH):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
