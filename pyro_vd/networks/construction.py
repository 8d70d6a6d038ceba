"""The arguments that a module was made with, read from its attributes of the same names, as torch's own modules have them."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from pyro_vd._core.errors import InputError


def constructor_arguments(module: nn.Module) -> dict[str, Any]:
    """Return the arguments that differ from the defaults; for ``bias``, a parameter or None, whether the module has one.

    Raises:
        InputError: the module has no attribute of an argument's name.
    """
    arguments = {}
    for name, default in constructor_defaults(type(module)).items():
        if not hasattr(module, name):
            raise InputError(
                f"{type(module).__name__} has no attribute {name!r} for its argument of that name, so a file cannot describe "
                "it; add the attribute, or override LayerKind.arguments in its kind",
                name=type(module).__name__,
                value=name,
            )
        value = getattr(module, name)
        value = value is not None if name == "bias" else value
        if value != default:
            arguments[name] = value
    return arguments


def constructor_defaults(kind: type[nn.Module]) -> dict[str, Any]:
    """Return the defaults of the public arguments of a module's class, by name, without ``device`` and ``dtype``."""
    parameters = [p for p in inspect.signature(kind).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return {p.name: p.default for p in parameters if p.name not in ("device", "dtype") and not p.name.startswith("_")}
