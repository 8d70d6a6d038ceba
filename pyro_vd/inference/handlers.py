"""Use of Pyro's effect handlers and parameter store. The process has one of each, so one thread at a time may use them."""

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
from pyro_vd._core.threads import alone

_OF_MODULE = re.compile(r"\$\$\$|(^|\.)sites\.")  # the separator of pyro.module; the prefix of a WeightGuide's parameters

_training: WeakSet[nn.Module] = WeakSet()


def trace_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> poutine.Trace:
    """Run ``function`` and return its trace; its errors keep their text, which ``poutine.trace(function)`` would change."""
    with poutine.trace() as tracer:
        function(*args, **kwargs)
    return tracer.trace


def check_stored(parameters: poutine.Trace, *functions: Callable[..., Any]) -> None:
    """Refuse a parameter of a module if Pyro's parameter store holds another parameter under its name, which SVI would train.

    Args:
        parameters: a trace with the parameter sites of the model and the guide.
        functions: the model and the guide. If one is a function, parameters of modules in it are recognised by their names.

    Raises:
        InputError: naming the parameter.
    """
    own = {id(parameter) for module in functions if isinstance(module, nn.Module) for parameter in module.parameters()}
    for name, site in parameters.nodes.items():
        given = site["args"][1] if site["type"] == "param" and len(site["args"]) > 1 else None
        if isinstance(given, nn.Parameter) and given is not site["value"] and (id(given) in own or _OF_MODULE.search(name)):
            raise InputError(
                f"Pyro's parameter store already holds another {name.replace('$$$', '.')!r}, from an earlier model or guide, "
                "and SVI would train that one. Call pyro.clear_param_store() before building the new pair.",
                name=name.replace("$$$", "."),
            )


def check_trained(*modules: nn.Module) -> None:
    """Refuse a parameter in Pyro's parameter store that is not one of these modules, so that no optimizer would train it.

    Raises:
        InputError: naming the parameter.
    """
    own = {id(parameter) for module in modules for parameter in module.parameters()}
    for name, parameter in pyro.get_param_store().named_parameters():
        if id(parameter) not in own:
            raise InputError(
                f"pyro.param({name!r}) would not be trained; make it an nn.Parameter or a PyroParam of the model or "
                "the guide, or train with SVI",
                name=name,
            )


@contextmanager
def own_parameters() -> Iterator[None]:
    """Reserve Pyro's handlers and parameter store for this thread; the store starts empty and is restored afterwards."""
    with alone(), pyro.get_param_store().scope():
        yield


@contextmanager
def training_of(model: nn.Module) -> Iterator[None]:
    """Reserve a model for one training.

    Raises:
        InputError: the model is already being trained, in another thread or by the caller.
    """
    with alone():
        if model in _training:
            raise InputError(
                f"this {type(model).__name__} is being trained by another fit, and both would change its parameters; wait for "
                "the other one to end, or train a copy: copy.deepcopy(guide)",
                name="guide",
                value=model,
            )
        _training.add(model)
    try:
        yield
    finally:
        with alone():
            _training.discard(model)
