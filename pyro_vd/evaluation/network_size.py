"""How small a network is: compression, the share with a prior, and what would be deployed."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vd.evaluation.deployed import DeployedSize, deployed_size
from pyro_vd.networks.sizes import OTHERS, LayerSize, compression, counted_network, layer_sizes


@dataclass(frozen=True)
class NetworkSize:
    """How small a network is; :class:`~pyro_vd.evaluation.metrics.Metrics` says what each number is."""

    compression: float
    prior_share: float
    deployed: DeployedSize | None
    layers: tuple[LayerSize, ...]


@torch.no_grad()
def network_size(net: nn.Module, example: Tensor, sites: Collection[str] | None = None) -> NetworkSize:
    """Measure a network.

    Args:
        net, sites: as of :func:`~pyro_vd.networks.sizes.layer_sizes`.
        example: inputs ``(n, …)``.
    """
    net, sites = counted_network(net, sites)
    layers = layer_sizes(net, sites)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    with_prior = sum(layer.weights for layer in layers if layer.site != OTHERS)
    share = with_prior / parameters if parameters else math.nan
    return NetworkSize(compression(net, sites), share, deployed_size(net, example), layers)
