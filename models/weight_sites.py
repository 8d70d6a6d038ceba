"""The choice of the weights of a network that get a prior, and the message about the parameters that get none."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean, some_of
from pyro_vd.networks.layer_registry import layer_classes, layers_in
from pyro_vd.networks.norms import NORMS

logger: logging.Logger = logging.getLogger(__name__)


def weight_places(net: nn.Module) -> dict[str, list[str]]:
    """Return every name of each weight that gets a prior, by its first name; log other parameters that may be expected there.

    Raises:
        InputError: there is no such weight.
    """
    places: dict[int, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(name)
    found = [module._parameters.get(name) for _, module, kind in layers_in(net) for name in kind.weights(module)]
    weights = {id(weight): weight.numel() for weight in found if weight is not None and weight.requires_grad}
    sites: dict[str, list[str]] = {}
    plain: dict[str, list[str]] = {}
    for key, names in places.items():
        owner, attribute = owner_of(net, names[0])
        if key in weights:
            sites[names[0]] = names
        elif not isinstance(owner, NORMS) and "bias" not in attribute:
            plain.setdefault(type(owner).__name__, []).append(names[0])
    if plain:
        logger.warning(
            "kept as plain parameters, without a prior: %s; with biases and normalisation %.3g %% of all parameters have none",
            "; ".join(some_of(kind, names) for kind, names in plain.items()),
            100 * (1 - sum(weights.values()) / sum(parameter.numel() for parameter in net.parameters())),
        )
    if not sites:
        raise InputError(
            f"net is a {type(net).__name__} without a weight that can have a prior; at least one of its layers must be one of "
            f"{', '.join(layer_classes())}, with a weight that is not frozen",
            name="net",
            value=net,
        )
    return sites


def shared_sites(shared: object, sites: Mapping[str, list[str]]) -> frozenset[str]:
    """Return the sites that are used more than once: those that the user names, and those with several names.

    Args:
        shared: what the user gave.
        sites: every name of each weight with a prior, by site.

    Raises:
        InputError: ``shared`` is not a list of sites.
    """
    if isinstance(shared, str) or not isinstance(shared, Collection) or not all(isinstance(each, str) for each in shared):
        raise InputError(name="shared", value=shared, allowed="a list of names of weights")
    if unknown := sorted(set(shared) - set(sites)):
        allowed = f"names of weights of the network: {', '.join(sites)}{did_you_mean(unknown[0], sites)}"
        raise InputError(name="shared", value=unknown, allowed=allowed)
    return frozenset(shared) | {name for name, places in sites.items() if len(places) > 1}


def owner_of(net: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the module that a parameter of this name belongs to, and the parameter's name there."""
    path, _, attribute = name.rpartition(".")
    return net.get_submodule(path), attribute
