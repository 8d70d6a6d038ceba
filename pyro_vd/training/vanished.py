"""Numbers that vanish in a training: they become zero, not denormal.

A processor takes many times as long for a product with a denormal number. The mean of a weight that is all noise decays
exponentially, and so does Adam's mean of gradients that are zero, which never reaches zero by itself: 9 tenths of the smallest
number are rounded to that number. Half of a pruned network would be denormal in the end, and its steps take twice as long.
Gradients that vanish on the way through 200 steps of an LSTM make its backward pass ten times as long.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from pyro_vd.guides.weight_guide import WeightGuide

_TINY = 1e-30
"""The KL counts a smaller 1/α as this one; beside float32's noise, a mean of 10⁻¹⁵ σ is nothing."""
_MEANS = ("exp_avg", "momentum_buffer")
"""What the optimizers of torch call their means of gradients."""


class DenormalsFlushed:
    """In this context the processor treats denormal numbers as zero, in this thread; afterwards it does as before.

    Threads inherit this when they begin. Those that share torch's operations are therefore begun first, so that they stay as
    they are, whether or not they have computed anything yet.
    """

    def __init__(self) -> None:
        torch.empty(torch.get_num_threads() << 15).fill_(1)

    def __enter__(self) -> None:
        self._before = sys.float_info.min / 2 == 0
        torch.set_flush_denormal(True)

    def __exit__(self, *_: object) -> None:
        torch.set_flush_denormal(self._before)


@torch.no_grad()
def clear_vanished(guide: WeightGuide, optimizer: torch.optim.Optimizer) -> None:
    """Set θ to zero where 1/α = θ²/σ² is below 10⁻³⁰, and the optimizer's means of gradients where they are below 10⁻³⁰.

    Args:
        guide: the guide that is trained; θ changes only where σ² is learnt per weight.
        optimizer: the optimizer of its training.
    """
    for name in guide.site_names:
        if (leaves := guide.leaves(name)) is not None:
            theta, log_sigma2, _ = leaves
            _clear(theta, log_sigma2.mul(0.5).exp_().mul_(_TINY**0.5))
    for state in filter(lambda each: isinstance(each, dict), optimizer.state.values()):  # a user's own class may hold more
        for mean in map(state.get, _MEANS):
            if isinstance(mean, Tensor) and mean.is_floating_point():
                _clear(mean, _TINY)


def _clear(tensor: Tensor, bound: Tensor | float) -> None:
    tensor.masked_fill_(tensor.abs() < bound, 0)
