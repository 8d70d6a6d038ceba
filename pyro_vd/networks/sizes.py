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

OTHERS = "other weights"
"""What the entry of all weights without a prior is called among the layers."""


@dataclass(frozen=True)
class LayerSize:
    """Weights of one site, or of :data:`OTHERS`: how many there are and how many are kept, which is not zero."""

    site: str
    weights: int
    nonzero: int

    @property
    def sparsity(self) -> float:
        """Share of weights that are removed, in [0, 1]."""
        return 1 - self.nonzero / self.weights if self.weights else 0.0


@torch.no_grad()
def layer_sizes(net: nn.Module, sites: Collection[str] | None = None) -> tuple[LayerSize, ...]:
    """Weights of a network, and how many are kept: one entry per site, and one for all other weights where there are any.

    A weight is any parameter of two dimensions or more, whatever module holds it; a shared one counts once, and one that is
    made of others (``parametrize``, ``weight_norm``, ``torch.nn.utils.prune``) counts as what it is made to.

    Args:
        net: an ordinary network; of a :class:`~pyro_vd.models.BayesianNetwork`, or its guide, the network that it came with.
        sites: the weights that have a prior: of them what is not zero is kept, of any other all, even what happens to be zero.
            None where it is not known: the weights of layers of registered kinds that are not frozen (all, where all are) are
            listed, and of every weight what is not zero is kept. Unless a weight without a prior holds zeros, both agree.
    """
    net, sites = counted_network(net, sites)
    return _in_order(net, sites, _sizes(net, sites))


@torch.no_grad()
def weight_counts(net: nn.Module, sites: Collection[str] | None = None) -> tuple[int, int]:
    """|W| and |W kept|: all weights that :func:`layer_sizes` counts, and how many of them are kept."""
    return _totals(_sizes(*counted_network(net, sites)))


@torch.no_grad()
def compression(net: nn.Module, sites: Collection[str] | None = None) -> float:
    """|W| / |W kept| over the weights that :func:`layer_sizes` counts; infinite where none is kept, NaN where there is none."""
    return _ratio(*weight_counts(net, sites))


def counted_network(net: Any, sites: Collection[str] | None) -> tuple[nn.Module, Collection[str] | None]:
    """The network to count, and its sites where they are known."""
    net = net.model if hasattr(net, "site_names") else net  # of a guide
    if hasattr(net, "to_module"):
        return net.to_module(net.initial_weights), net.weight_names
    return net, sites


def _totals(layers: Collection[LayerSize]) -> tuple[int, int]:
    return sum(layer.weights for layer in layers), sum(layer.nonzero for layer in layers)


def _ratio(weights: int, kept: int) -> float:
    return math.nan if not weights else weights / kept if kept else math.inf


def _sizes(net: nn.Module, sites: Collection[str] | None) -> tuple[LayerSize, ...]:
    """In the order of registration."""
    weights = list(_weights(net))
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
    """In the order of the sites, or of :func:`~pyro_vd.networks.layers.named_weights`; what is in neither at the end."""
    rank = {name: place for place, name in enumerate([name for name, _ in named_weights(net)] if sites is None else sites)}
    return tuple(sorted(layers, key=lambda layer: rank.get(layer.site, len(rank) + (layer.site == OTHERS))))


def _weights(net: nn.Module) -> Iterator[tuple[str, Tensor, bool]]:
    """Name and value of every weight, once, and whether it can have a prior: it belongs to a layer of a registered kind."""
    supported = {id(weight) for _, module, kind in layers_in(net) for weight in own_weights(kind, module).values()}
    seen: dict[int, Any] = {}  # holds what it knows: the number of what is gone is given to another
    for path, module in net.named_modules():
        if "parametrizations" in path.split("."):
            continue  # what a weight is made of
        kind = kind_of(module)
        of_layer = () if kind is None else kind.weights(module)
        for name, value, source in _own(module, of_layer):
            if value.ndim >= 2 and id(source) not in seen:
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
        elif part != "g":  # torch.nn.utils: weight_norm makes one of two; spectral_norm and prune one of one
            yield made, value, parameter
    for name in of_layer:
        if (held := module._buffers.get(name)) is not None:
            yield name, held, held
    if parametrize.is_parametrized(module):
        for name, made_of in cast(nn.ModuleDict, module.parametrizations).items():
            yield name, getattr(module, name), made_of
