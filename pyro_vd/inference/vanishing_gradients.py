"""Gradients that vanish on their way back through a recurrent layer: they become zero, not denormal.

A processor takes many times as long for a product with a denormal number, and the gradient of the first words of a text is
denormal after some hundred steps of an LSTM that has learnt little. Only the backward pass of networks with recurrent layers of
torch is computed so: a network's own code, such as ``(mask + 1e-45).log()``, may need denormal numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def vanishing_gradients_flushed(model: Any) -> Iterator[None]:
    """Treat denormal numbers as zero in this thread, for a backward pass, if ``model`` is a module with recurrent layers.

    Other threads of torch, which the forward pass has begun, go on as they were.
    """
    if not isinstance(model, nn.Module) or not any(isinstance(each, nn.RNNBase | nn.RNNCellBase) for each in model.modules()):
        yield
        return
    before = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
