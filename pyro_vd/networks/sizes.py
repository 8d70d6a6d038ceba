"""How small a network is: weights per layer, how many of them are kept, which share of the parameters has a prior."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from pyro_vd.networks.layer_registry import kind_of, layers_in, own_weights
from pyro_vd.networks.layers import named_weights, weight_name
from pyro_vd.networks.markers import GuideMarker, ModelMarker

OTHERS = "other weights"
"""The name of the entry that counts all weights without a prior."""


@dataclass(frozen=True)
class LayerSize:
    """The number of weights of one site, or of :data:`OTHERS`, and how many of them are kept, that is, not zero."""

    site: str
    weights: int
    nonzero: int

    @property
    def sparsity(self) -> float:
        """Share of weights that are removed, in [0, 1]."""
        return 1 - self.nonzero / self.weights if self.weights else 0.0


@torch.no_grad()
def layer_sizes(net: nn.Module, sites: Collection[str] | None = None) -> tuple[LayerSize, ...]:
    """Count the weights of a network and those that are kept: one entry per site, and one for all other weights, if any.

    A weight is any parameter of two dimensions or more, in whatever module, and any site. A shared weight counts once. A weight
    that is computed from other parameters (``parametrize``, ``weight_norm``, ``torch.nn.utils.prune``) counts with its computed
    values.

    Args:
        net: an ordinary network; for a :class:`~pyro_vd.models.BayesianNetwork` or its guide, the network that it was made
            from is counted.
        sites: the names of the weights that have a prior. Of these, the entries that are not zero are kept; of all others,
            every entry is kept, even one that happens to be zero. None if the names are not known. Then all weights of layers
            of registered kinds that are not frozen (all, if all are frozen) are listed, and of every weight the entries that
            are not zero are kept. Both ways agree unless a weight without a prior holds zeros.
    """
    net, sites = counted_network(net, sites)
    return _in_order(net, sites, _sizes(net, sites))


@torch.no_grad()
def weight_counts(net: nn.Module, sites: Collection[str] | None = None) -> tuple[int, int]:
    """The number |W| of all weights that :func:`layer_sizes` counts, and the number |W kept| of those that are kept."""
    return _totals(_sizes(*counted_network(net, sites)))


@torch.no_grad()
def compression(net: nn.Module, sites: Collection[str] | None = None) -> float:
    """The ratio |W| / |W kept| of :func:`weight_counts`; infinite if none is kept, NaN if there are no weights."""
    return _ratio(*weight_counts(net, sites))


def counted_network(net: Any, sites: Collection[str] | None) -> tuple[nn.Module, Collection[str] | None]:
    """The network to count, and its sites where they are known."""
    net = net.model if isinstance(net, GuideMarker) else net
    if isinstance(net, ModelMarker):
        net = cast(Any, net)
        return net.to_module(net.initial_weights), net.weight_names
    return net, sites


def _totals(layers: Collection[LayerSize]) -> tuple[int, int]:
    return sum(layer.weights for layer in layers), sum(layer.nonzero for layer in layers)


def _ratio(weights: int, kept: int) -> float:
    return math.nan if not weights else weights / kept if kept else math.inf


def _sizes(net: nn.Module, sites: Collection[str] | None) -> tuple[LayerSize, ...]:
    """Count the weights, in the order of registration."""
    weights = list(_weights(net, sites or ()))
    known = sites is not None
    if sites is None:
        possible = {name: tensor for name, tensor, can in weights if can}
        sites = {name for name, tensor in possible.items() if tensor.requires_grad} or possible
    listed = tuple(LayerSize(name, w.numel(), int(torch.count_nonzero(w))) for name, w, _ in weights if name in sites)
    others = [w for name, w, _ in weights if name not in sites]
    if not others:
        return listed
    kept = sum(w.numel() if known else int(torch.count_nonzero(w)) for w in others)
    return (*listed, LayerSize(OTHERS, sum(w.numel() for w in others), kept))


def _in_order(net: nn.Module, sites: Collection[str] | None, layers: tuple[LayerSize, ...]) -> tuple[LayerSize, ...]:
    """Sort by the sites, or by :func:`~pyro_vd.networks.layers.named_weights`; entries that are in neither come last."""
    rank = {name: place for place, name in enumerate([name for name, _ in named_weights(net)] if sites is None else sites)}
    return tuple(sorted(layers, key=lambda layer: rank.get(layer.site, len(rank) + (layer.site == OTHERS))))


def _weights(net: nn.Module, sites: Collection[str]) -> Iterator[tuple[str, Tensor, bool]]:
    """Name and value of every weight, once, and whether it can have a prior: it belongs to a layer of a registered kind.

    A weight has two dimensions or more, or is among the ``sites``.
    """
    supported = {id(weight) for _, module, kind in layers_in(net) for weight in own_weights(kind, module).values()}
    seen: dict[int, Any] = {}  # keeps the objects alive: a new object may get the id of a deleted one
    for path, module in net.named_modules():
        if "parametrizations" in path.split("."):
            continue  # the parameters that a weight is computed from
        kind = kind_of(module)
        of_layer = () if kind is None else kind.weights(module)
        for name, value, source in _own(module, of_layer):
            if (value.ndim >= 2 or weight_name(path, name) in sites) and id(source) not in seen:
                seen[id(source)] = source
                yield weight_name(path, name), value, name in of_layer or id(source) in supported


def _own(module: nn.Module, of_layer: Collection[str]) -> Iterator[tuple[str, Tensor, Any]]:
    """Name and value of a module's own parameters, and the object that tells whether one is shared.

    Args:
        module: the module.
        of_layer: names that are weights of a layer; they count where they are buffers, too.
    """
    for name, parameter in module._parameters.items():
        made, _, part = name.rpartition("_")
        if parameter is None or isinstance(parameter, UninitializedParameter):
            continue
        if part not in ("orig", "g", "v") or not isinstance(value := module.__dict__.get(made), Tensor):
            yield name, parameter, parameter
        elif part != "g":  # in torch.nn.utils weight_norm computes a weight from two parameters, the others from one
            yield made, value, parameter
    for name in of_layer:
        if (held := module._buffers.get(name)) is not None:
            yield name, held, held
    if parametrize.is_parametrized(module):
        for name, made_of in cast(nn.ModuleDict, module.parametrizations).items():
            yield name, getattr(module, name), made_of
