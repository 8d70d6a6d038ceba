"""The choice of the weights of a network that get a prior, and the message about the parameters that get none."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean, quoted
from pyro_vd._core.patterns import names_matching
from pyro_vd.networks.layer_registry import layer_classes, layers_in
from pyro_vd.networks.layers import weight_name
from pyro_vd.networks.norms import NORMS

logger: logging.Logger = logging.getLogger(__name__)

Selection = Collection[str] | Callable[[str, nn.Parameter], bool]
"""A choice of parameters: names and patterns such as ``"*.bias"``, or a function of a parameter's name and the parameter."""

_LISTED = 8
"""The number of groups of parameters that the message lists."""


def chosen_parameters(what: str, selection: Selection, net: nn.Module) -> list[str]:
    """Return the names of the learnt parameters of a network that are chosen.

    Raises:
        InputError: ``selection`` is no list of texts and no function, or a pattern in it matches no learnt parameter.
    """
    learnt = {name: each for name, each in net.named_parameters(remove_duplicate=False) if each.requires_grad}
    if callable(selection):
        return [name for name, parameter in learnt.items() if selection(name, parameter)]
    return names_matching(what, selection, learnt)


def weight_places(net: nn.Module, included: Collection[str], excluded: Collection[str]) -> dict[str, list[str]]:
    """Return every name of each parameter that gets a prior, by its first name; log what stays plain.

    Args:
        net: the network.
        included: further parameters, beside the weights of layers of registered kinds.
        excluded: parameters that get no prior.

    Raises:
        InputError: there is no such parameter; or the layer of a weight has an option with which the weight cannot be drawn.
    """
    chosen = {weight_name(path, name) for path, module, kind in layers_in(net, False) for name in kind.weights(module)}
    chosen |= set(included)
    places: dict[int, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            places.setdefault(id(parameter), []).append(name)
    sites = {names[0]: names for names in places.values() if chosen & {*names} and not {*names} & {*excluded}}
    if not sites:
        raise InputError(
            f"net is a {type(net).__name__} without a weight that can have a prior; at least one of its layers must be one of "
            f"{', '.join(layer_classes())}, with a weight that is not frozen, or include must name a parameter",
            name="net",
            value=net,
        )
    for path, module, kind in layers_in(net):
        own = {weight_name(path, name) for name in kind.weights(module)}
        if own & {name for names in sites.values() for name in names} and (why := kind.refusal(module)) is not None:
            raise InputError(
                f"module {path!r} ({quoted(module)}) cannot have weights with a prior: {why}", name=path, value=module
            )
    _say_what_stays_plain(net, sites)
    return sites


def _say_what_stays_plain(net: nn.Module, sites: Collection[str]) -> None:
    """Log the parameters without a prior by groups, with their numbers, if there are others than biases and normalisation."""
    plain: Counter[str] = Counter()
    total, expected = 0, ("biases", "normalisation")
    for name, parameter in net.named_parameters():
        total += parameter.numel()
        if name not in sites:
            owner, attribute = owner_of(net, name)
            group = re.sub(r"(?<![^.])\d+(?![^.])", "*", name) + f" of {type(owner).__name__}"  # blocks.*.scale for all blocks
            group = expected[0] if "bias" in attribute else group
            group = expected[1] if isinstance(owner, NORMS) else group
            plain[group if parameter.requires_grad else "frozen ones"] += parameter.numel()
    if plain.keys() <= set(expected):
        return
    listed = [f"{group} ({count:,})" for group, count in plain.most_common(_LISTED)]
    if rest := plain.total() - sum(count for _, count in plain.most_common(_LISTED)):
        listed.append(f"{len(plain) - _LISTED} more groups ({rest:,})")
    logger.warning(
        "%.3g %% of the parameters stay plain, without a prior: %s; BayesianNetwork(net, include=[...]) gives a prior to more",
        100 * plain.total() / total,
        ", ".join(listed),
    )


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
