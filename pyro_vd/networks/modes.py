"""Training and evaluation mode of a network."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import nn

from pyro_vd._core.threads import alone
from pyro_vd.networks.norms import holds_statistics


@contextmanager
def in_evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every module back into its own mode afterwards.

    Modules can be in different modes: some may be frozen in a network that is trained. One thread at a time may be inside:
    another thread would take this mode for the network's own.
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
    """The paths of the modules that stay in evaluation mode while ``net`` is trained: those that are in it already.

    If all modules are in evaluation mode, the network was just loaded or measured, which says nothing about training. Then the
    modules that stay are those that hold running statistics, and those of which no parameter is learnt, with everything inside.
    """
    modules = dict(net.named_modules(remove_duplicate=False))
    if any(module.training for module in modules.values()):
        return frozenset(path for path, module in modules.items() if not module.training)
    kept = {module for module in modules.values() if holds_statistics(module)}
    for module in modules.values():
        learns = [parameter.requires_grad for parameter in module.parameters()]
        if learns and not any(learns):
            kept.update(module.modules())
    return frozenset(path for path, module in modules.items() if module in kept)


def put_back_in_evaluation_mode(net: nn.Module, kept: Collection[str]) -> None:
    """Put the modules at these paths into evaluation mode and all others into training mode, with each module's ``train``."""
    for path, module in net.named_modules(remove_duplicate=False):  # parents come first: ``train`` sets children too
        if module.training == (path in kept):
            module.train(path not in kept)
