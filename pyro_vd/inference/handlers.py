"""Pyro's effect handlers and parameter store, which are one for the whole process: one thread uses them at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import pyro
import pyro.poutine as poutine
from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd.networks.modes import alone

_OF_MODULE = re.compile(r"\$\$\$|(^|\.)sites\.")  # pyro.module's divider; where a WeightGuide has its parameters

_training: WeakSet[nn.Module] = WeakSet()


def trace_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> poutine.Trace:
    """The sites that ``function`` passes; its errors stay as they are, where ``poutine.trace(function)`` changes their text."""
    with poutine.trace() as tracer:
        function(*args, **kwargs)
    return tracer.trace


def check_stored(parameters: poutine.Trace, *functions: Callable[..., Any]) -> None:
    """SVI steps what the parameter store holds; under the name of a module's parameter that must be this parameter.

    Args:
        parameters: the parameter sites of a model and a guide.
        functions: these two. Of functions that are no modules, parameters are known by names that only modules give.

    Raises:
        InputError: naming a parameter of which the store holds another.
    """
    own = {id(parameter) for module in functions if isinstance(module, nn.Module) for parameter in module.parameters()}
    for name, site in parameters.nodes.items():
        given = site["args"][1] if site["type"] == "param" and len(site["args"]) > 1 else None
        if isinstance(given, nn.Parameter) and given is not site["value"] and (id(given) in own or _OF_MODULE.search(name)):
            raise InputError(
                f"Pyro's parameter store already holds another {name.replace('$$$', '.')!r}, from an earlier model or guide, "
                "and SVI would train that one. Call pyro.clear_param_store() before building the new pair."
            )


@contextmanager
def own_parameters() -> Iterator[None]:
    """Pyro's stack and parameter store for this thread alone; the store is empty at first, and afterwards as it was."""
    with alone(), pyro.get_param_store().scope():
        yield


@contextmanager
def training_of(model: nn.Module) -> Iterator[None]:
    """Keeps a model for one training.

    Raises:
        InputError: it is being trained, by another thread or further out.
    """
    with alone():
        if model in _training:
            raise InputError(
                f"this {type(model).__name__} is being trained by another fit, and both would change its parameters; wait for "
                "that, or train a copy: copy.deepcopy(guide)"
            )
        _training.add(model)
    try:
        yield
    finally:
        with alone():
            _training.discard(model)
