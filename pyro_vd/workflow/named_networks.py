"""Networks that a recipe names by import path: the library's own, and those of packages that the user trusts.

To import a module is to run its code, so a recipe alone, which may come from a stranger, never makes that happen.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from pyro_vd import networks
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line, quoted

_READY = ("conv_classifier", "lenet5", "lstm_classifier", "mlp", "resnet20", "transformer_encoder", "vgg_like")
_OWN: dict[str, Callable[..., nn.Module]] = {f"{networks.__name__}.{name}": getattr(networks, name) for name in _READY}

_trusted: set[str] = set()


def trust(*packages: str) -> None:
    """Let recipes import networks from these packages or modules, and from everything inside them, in this process.

    Args:
        packages: dotted names, such as ``torchvision``.

    Raises:
        InputError: a name is not one of a package or module.
    """
    for package in packages:
        if not is_dotted(package):
            allowed = "the dotted name of a package or module, such as torchvision"
            raise InputError(name="trust", value=package, allowed=allowed)
    _trusted.update(packages)


def trusted() -> tuple[str, ...]:
    """What :func:`trust` has been given in this process."""
    return tuple(sorted(_trusted))


def is_dotted(path: object) -> bool:
    """Whether a value is one or more Python names with dots between."""
    return isinstance(path, str) and all(part.isidentifier() for part in path.split("."))


def named_network(path: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Make the network of this import path.

    Args:
        path: a class, or a function that returns a network, such as ``torchvision.models.resnet18``.
        arguments: its arguments by name.

    Raises:
        InputError: the path is not of a trusted package, does not lead to a network, or does not take the arguments.
    """
    make = _OWN.get(path) or _imported(path)
    try:
        net = make(**arguments)
    except Exception as error:  # code of others can raise anything
        raise InputError(
            f"model.class {path} with model.args (={quoted(dict(arguments))}): {one_line(error)}",
            name="model.args",
            value=dict(arguments),
        ) from error
    if not isinstance(net, nn.Module):
        raise InputError(
            f"model.class {path} makes a {type(net).__name__}; it must make an nn.Module", name="model.class", value=path
        )
    return net


def _imported(path: str) -> Callable[..., nn.Module]:
    parts = path.split(".")
    if not any(".".join(parts[:count]) in _trusted for count in range(1, len(parts))):
        own = ", ".join(_OWN)
        raise InputError(
            f"model.class (={path}) would import {parts[0]}, which runs its code; allow it with --trust {parts[0]} on the "
            f"command line, or pyro_vd.workflow.trust({parts[0]!r}) in Python. Without that it must be one of {own}",
            name="model.class",
            value=path,
            allowed=f"one of {own}, or of a trusted package",
        )
    module, _, name = path.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except Exception as error:
        message = f"model.class (={path}) cannot be imported: {one_line(error)}"
        raise InputError(message, name="model.class", value=path) from error
    if not callable(found):
        raise InputError(
            f"model.class (={path}) is a {type(found).__name__}; it must be a class or a function",
            name="model.class",
            value=path,
        )
    make: Callable[..., nn.Module] = found
    return make
