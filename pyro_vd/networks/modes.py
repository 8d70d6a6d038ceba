"""Training and evaluation mode of a network."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import nn

_lock = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """One thread at a time: it runs networks in a mode, under effect handlers or traced, which another must not meet.

    Also a decorator, ``@alone()``. A thread may enter it again.
    """
    with _lock:
        yield


@contextmanager
def in_evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Afterwards every module is in the mode that it was in: some may be frozen in a network that is trained.

    One thread at a time: another would take this mode for the network's own.
    """
    with alone():
        modes = [(module, module.training) for module in net.modules()]
        net.eval()
        try:
            yield
        finally:
            net.train(modes[0][1])  # a module's own ``train`` may do more than set the flag
            for module, training in modes:
                module.training = training


def kept_in_evaluation_mode(net: nn.Module) -> frozenset[str]:
    """The paths of the modules that a training of ``net`` is to leave in evaluation mode: those that are in it.

    Where all are, the network was just loaded or measured, which says nothing about training. Then it is those that hold
    running statistics, and those with parameters of which none is learnt, with all that is in them.
    """
    modules = dict(net.named_modules(remove_duplicate=False))
    if any(module.training for module in modules.values()):
        return frozenset(path for path, module in modules.items() if not module.training)
    kept = {module for module in modules.values() if _holds_statistics(module)}
    for module in modules.values():
        learns = [parameter.requires_grad for parameter in module.parameters()]
        if learns and not any(learns):
            kept.update(module.modules())
    return frozenset(path for path, module in modules.items() if module in kept)


def _holds_statistics(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._NormBase) or "running_mean" in module._buffers


def put_back_in_evaluation_mode(net: nn.Module, kept: Collection[str]) -> None:
    """Put the modules of these paths into evaluation mode and all others into training mode, by each module's own ``train``."""
    for path, module in net.named_modules(remove_duplicate=False):  # a module comes before what is in it, and takes that along
        if module.training == (path in kept):
            module.train(path not in kept)
