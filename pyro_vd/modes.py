"""Training and evaluation mode of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Afterwards every module is in the mode that it was in: some may be frozen in a network that is trained."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        net.train(modes[0][1])  # a module's own ``train`` may do more than set the flag
        for module, training in modes:
            module.training = training
