"""What a network costs to store and to run: parameters, weights that are not zero, floating-point operations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pyro_vd.networks.inputs import Inputs, run_apart
from pyro_vd.networks.layer_kind import LayerKind
from pyro_vd.networks.layer_registry import layers_in
from pyro_vd.networks.modes import in_evaluation_mode
from pyro_vd.networks.sizes import layer_sizes

Shape = tuple[int, ...]


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network.

    The operations are the multiplications and additions of every product of matrices and every convolution that the network
    carries out, recurrent layers and attention included, as :class:`torch.utils.flop_counter.FlopCounterMode` counts them.
    Sums, activations, normalisation and pooling are not counted.
    """

    parameters: int
    """The number of all parameters."""
    nonzero: int
    """The number of weights, in parameters of two dimensions or more, that are not zero."""
    flops: int
    """Operations per example."""
    effective_flops: int
    """Operations per example without those of weights that are zero, in layers of registered kinds."""


@torch.no_grad()
def network_cost(net: nn.Module, example: Inputs) -> NetworkCost:
    """The cost of a network in evaluation mode; ``example`` is one input in any form, ``(1, …)``, on its device."""
    saved = 0

    def count(kind: LayerKind, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        nonlocal saved
        for weight, times in kind.products(layer, (*args, *kwargs.values()), output):
            saved += 2 * (weight.numel() - int(weight.count_nonzero())) * times

    hooks = [layer.register_forward_hook(partial(count, kind), with_kwargs=True) for _, layer, kind in layers_in(net)]
    try:
        with in_evaluation_mode(net), operations_counted() as counter:
            run_apart(net, example)
    finally:
        for hook in hooks:
            hook.remove()
    nonzero = sum(layer.nonzero for layer in layer_sizes(net))
    flops = counter.get_total_flops()
    return NetworkCost(sum(parameter.numel() for parameter in net.parameters()), nonzero, flops, flops - saved)


def _bilinear_flops(first: Shape, weight: Shape, *args: Any, **kwargs: Any) -> int:
    return 2 * math.prod(first[:-1]) * math.prod(weight)


@contextmanager
def operations_counted() -> Iterator[FlopCounterMode]:
    """Count the operations of products of matrices, convolutions and bilinear layers.

    Recurrent layers and attention run as single products, because fused operations are not counted.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TF32 acceleration", UserWarning)
            flags = torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False)
            counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten._trilinear: _bilinear_flops})
            with flags[0], flags[1], sdpa_kernel(SDPBackend.MATH), counter:
                yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
