"""The size of a network: compression, the share of parameters with a prior, and the deployed size."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import nn

from pyro_vd.evaluation.deployed import DeployedSize, deployed_size
from pyro_vd.networks.inputs import Inputs
from pyro_vd.networks.sizes import OTHERS, LayerSize, compression, counted_network, layer_sizes


@dataclass(frozen=True)
class NetworkSize:
    """The size of a network; :class:`~pyro_vd.evaluation.metrics.Metrics` documents each field."""

    compression: float
    prior_share: float
    deployed: DeployedSize | None
    layers: tuple[LayerSize, ...]


@torch.no_grad()
def network_size(net: nn.Module, example: Inputs, sites: Collection[str] | None = None) -> NetworkSize:
    """Measure the size of a network.

    Args:
        net: see :func:`~pyro_vd.networks.sizes.layer_sizes`.
        example: inputs, in any form.
        sites: see :func:`~pyro_vd.networks.sizes.layer_sizes`.
    """
    net, sites = counted_network(net, sites)
    layers = layer_sizes(net, sites)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    with_prior = sum(layer.weights for layer in layers if layer.site != OTHERS)
    share = with_prior / parameters if parameters else math.nan
    return NetworkSize(compression(net, sites), share, deployed_size(net, example), layers)
