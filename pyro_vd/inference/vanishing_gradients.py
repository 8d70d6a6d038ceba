"""Gradients that vanish on their way back through a recurrent layer: they become zero, not denormal.

A processor takes many times as long for a product with a denormal number, and the gradient of the first words of a text is
denormal after some hundred steps of an LSTM that has learnt little. Only the backward pass of networks with recurrent layers of
torch is computed so: a network's own code, such as ``(mask + 1e-45).log()``, may need denormal numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.threads import in_thread_of_its_own


def without_denormals(model: Any, loss: Tensor, backward: Callable[[], object]) -> None:
    """Run the backward pass of ``loss``, with denormal numbers as zero if ``model`` is a module with recurrent layers.

    The OpenMP threads of a thread begin with its setting for denormal numbers, and keep it. So with several of them on the CPU,
    the backward pass runs in a new thread, which begins its own. What belongs to a thread, such as a profiler, does not see it.
    """
    if not isinstance(model, nn.Module) or not any(isinstance(each, nn.RNNBase | nn.RNNCellBase) for each in model.modules()):
        backward()
        return
    threads = torch.get_num_threads()

    def flushed() -> None:
        before = sys.float_info.min / 2 == 0
        torch.set_flush_denormal(True)
        try:
            backward()
        finally:
            torch.set_flush_denormal(before)

    def flushed_in_all() -> None:
        of_new_threads = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            flushed()
        finally:
            torch.set_num_threads(of_new_threads)

    if loss.device.type == "cpu" and threads > 1:
        in_thread_of_its_own(flushed_in_all)
    else:
        flushed()
