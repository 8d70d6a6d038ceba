"""The description of a network in a file: nested ``nn.Sequential`` of known layers; a file cannot ask for anything else."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import first_line, quoted, some_of
from pyro_vd._core.reading import reading
from pyro_vd.export.growth import excess
from pyro_vd.networks.construction import constructor_arguments, constructor_defaults
from pyro_vd.networks.layer_registry import described_classes, exact_kind_of
from pyro_vd.networks.modules import Rescale, SelectInputs, Standardize
from pyro_vd.networks.norms import BATCH_NORMS
from pyro_vd.networks.partial_norms import PartialNorm

_OTHERS: dict[str, type[nn.Module]] = {
    layer.__name__: layer
    for layer in (
        *(
            nn.ReLU,
            nn.LeakyReLU,
            nn.ELU,
            nn.GELU,
            nn.SiLU,
            nn.Sigmoid,
            nn.Tanh,
            nn.Softplus,
            nn.Identity,
            nn.Flatten,
            nn.Unflatten,
        ),
        *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d),
        *(*BATCH_NORMS, nn.LayerNorm, PartialNorm, SelectInputs, Standardize, Rescale),
    )
}
"""Modules that a file may ask for, inside ``nn.Sequential``, beside the layers of registered kinds."""


def buildable() -> dict[str, type[nn.Module]]:
    """The modules that a file may ask for inside ``nn.Sequential``, by the names of their classes."""
    return {**described_classes(), **_OTHERS}


def describe(module: nn.Module) -> Any:
    """JSON from which :func:`build` makes a module of the same architecture; None where there is no such description."""
    if type(module) is nn.Sequential:
        children = {name: describe(child) for name, child in module._modules.items() if child is not None}  # repeats too
        return None if None in children.values() else {"Sequential": children}
    name = type(module).__name__
    if buildable().get(name) is not type(module):
        return None
    kind = exact_kind_of(module)
    return {name: constructor_arguments(module) if kind is None else kind.arguments(module)}


def not_described(net: nn.Module) -> str:
    """The modules of a network that :func:`describe` cannot describe, as text for a message."""
    kinds: dict[str, list[str]] = {}

    def look(path: str, module: nn.Module) -> None:
        if type(module) is nn.Sequential:
            for name, child in module.named_children():
                look(f"{path}.{name}".lstrip("."), child)
        elif describe(module) is None:
            kinds.setdefault(type(module).__name__, []).append(path)

    look("", net)
    return "; ".join(some_of(kind, paths) for kind, paths in kinds.items()) or "layers that share a parameter"


def build(where: str, description: Any) -> nn.Module:
    """Build the network that is described, on the meta device: it takes no memory, so that its sizes can be checked first.

    Args:
        where: the file, for messages.
        description: what :func:`describe` has returned; it comes from a file, and nothing in it is trusted.

    Raises:
        InputError: the description is malformed, asks for a layer that is not :func:`buildable`, or for layers whose output
            would be many times as large as their input.
    """
    with reading(where, "a network saved by pyro_vd"), torch.device("meta"):
        net = _built(where, description)
        if too_much := excess(net.modules()):
            times, most = too_much
            raise InputError(
                f"{where}: its layers make up to {times:,} output positions per input position; at most {most:,} are allowed",
                name=where,
                value=times,
                allowed=f"at most {most}",
            )
    return net


def _built(where: str, description: Any) -> nn.Module:
    if not isinstance(description, dict) or len(description) != 1:
        raise InputError(f"{where} is corrupt: {quoted(description)} does not describe a layer", name=where, value=description)
    ((name, arguments),) = description.items()
    known = buildable()
    if not isinstance(arguments, dict) or name not in ("Sequential", *known):
        allowed = ", ".join(("Sequential", *known))
        raise InputError(
            f"{where} asks for a layer {name!r}; allowed are {allowed}", name=where, value=name, allowed=f"one of {allowed}"
        )
    try:
        if name == "Sequential":
            return nn.Sequential(OrderedDict((child, _built(where, part)) for child, part in arguments.items()))
        if unknown := [key for key in arguments if key not in constructor_defaults(known[name])]:
            raise TypeError(f"unknown arguments {', '.join(unknown)}")
        return known[name](**{key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()})
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, KeyError, ArithmeticError, AssertionError) as error:
        why = first_line(error)
        raise InputError(
            f"{where} asks for {name}{quoted(arguments)}, which cannot be built: {why}", name=where, value=arguments
        ) from error
