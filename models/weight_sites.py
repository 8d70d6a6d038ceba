"""Which weights of a network get a prior, and the message about what does not."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from torch import nn

from pyro_vd._core.messages import some_of
from pyro_vd.networks.layer_registry import layers_in

logger: logging.Logger = logging.getLogger(__name__)

NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def weight_owners(net: nn.Module) -> Iterator[tuple[str, list[str]]]:
    """Each weight to put a prior on, with every name it goes by; the rest, where a user may expect one, is logged."""
    places: dict[int, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(name)
    found = [module._parameters.get(name) for _, module, kind in layers_in(net) for name in kind.weights(module)]
    weights = {id(weight): weight.numel() for weight in found if weight is not None and weight.requires_grad}
    plain: dict[str, list[str]] = {}
    for key, names in places.items():
        owner, attribute = owner_of(net, names[0])
        if key in weights:
            yield names[0], names
        elif not isinstance(owner, NORMALISATIONS) and "bias" not in attribute:
            plain.setdefault(type(owner).__name__, []).append(names[0])
    if plain:
        logger.warning(
            "kept as plain parameters, without a prior: %s; with biases and normalisation %.3g %% of all parameters have none",
            "; ".join(some_of(kind, names) for kind, names in plain.items()),
            100 * (1 - sum(weights.values()) / sum(parameter.numel() for parameter in net.parameters())),
        )


def owner_of(net: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that a parameter of this name belongs to, and the parameter's name there."""
    path, _, attribute = name.rpartition(".")
    return net.get_submodule(path), attribute
