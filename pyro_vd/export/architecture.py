"""What a file says of how a network is built: nested ``nn.Sequential`` of known layers; nothing else can be asked for."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted, some_of
from pyro_vd._core.reading import reading
from pyro_vd.export.growth import MOST_GROWTH, growth
from pyro_vd.networks.layers import SUPPORTED_LAYERS
from pyro_vd.networks.modules import Rescale, SelectInputs

BUILDABLE: dict[str, type[nn.Module]] = {
    layer.__name__: layer
    for layer in (
        *SUPPORTED_LAYERS,
        *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity, nn.Flatten),
        *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d),
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, SelectInputs, Rescale),
    )
}
"""Layers that a file may ask for, inside ``nn.Sequential``."""


def describe(module: nn.Module) -> Any:
    """JSON from which :func:`build` makes an equal module; None where it cannot."""
    if type(module) is nn.Sequential:
        children = {name: describe(child) for name, child in module._modules.items() if child is not None}  # repeats too
        return None if None in children.values() else {"Sequential": children}
    name = type(module).__name__
    if BUILDABLE.get(name) is not type(module):
        return None
    arguments = {}
    for argument, default in _arguments(type(module)).items():
        value = getattr(module, argument)
        value = value is not None if argument == "bias" else value
        if value != default:
            arguments[argument] = value
    return {name: arguments}


def not_described(net: nn.Module) -> str:
    """What :func:`describe` has no words for, for a message."""
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
    """The network that is described, on the meta device: it takes no memory, so that its sizes can be checked first.

    Args:
        where: the file, for messages.
        description: of :func:`describe`, from anywhere: nothing in it is trusted.

    Raises:
        InputError: it asks for another layer, for what is none, or for layers that blow an input up.
    """
    with reading(where, "a network saved by pyro_vd"), torch.device("meta"):
        net = _built(where, description)
        if (times := growth(net.modules())) > MOST_GROWTH:
            raise InputError(f"{where}: its layers make {times:,} positions of one; at most {MOST_GROWTH:,} are allowed")
    return net


def _arguments(layer: type[nn.Module]) -> dict[str, Any]:
    """What a file may say of a layer, and the defaults: not where its tensors are made, for that must be nowhere at first."""
    parameters = inspect.signature(layer).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in ("device", "dtype")}


def _built(where: str, description: Any) -> nn.Module:
    if not isinstance(description, dict) or len(description) != 1:
        raise InputError(f"{where} is corrupt: {quoted(description)} does not describe a layer")
    ((name, arguments),) = description.items()
    if not isinstance(arguments, dict) or name not in ("Sequential", *BUILDABLE):
        raise InputError(f"{where} asks for a layer {name!r}; allowed are Sequential, {', '.join(BUILDABLE)}")
    try:
        if name == "Sequential":
            return nn.Sequential(OrderedDict((child, _built(where, part)) for child, part in arguments.items()))
        if unknown := [key for key in arguments if key not in _arguments(BUILDABLE[name])]:
            raise TypeError(f"unknown arguments {', '.join(unknown)}")
        return BUILDABLE[name](**{key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()})
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, KeyError, ArithmeticError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"{where} asks for {name}{quoted(arguments)}, which cannot be built: {why}") from error
