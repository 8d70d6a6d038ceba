"""Numbers that a training has let decay to nothing: they become zero at the end of an epoch, before they become denormal.

A processor takes many times as long for a product with a denormal number. The mean of a weight that is all noise decays
exponentially, and so does Adam's mean of gradients that are zero, which never reaches zero by itself: 0.9 times the smallest
number is rounded to that number again. In the end, half of the means of a pruned network were denormal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_vd.distributions.kl import TINY
from pyro_vd.guides.weight_guide import WeightGuide

_MEANS = ("exp_avg", "momentum_buffer")
"""What the optimizers of torch call their means of gradients."""


@torch.no_grad()
def clear_vanished(guide: WeightGuide, optimizer: torch.optim.Optimizer) -> None:
    """Set θ to zero where 1/α = θ²/σ² is below 10⁻³⁰, and the optimizer's means of gradients where they are below 10⁻³⁰.

    The KL counts a smaller 1/α as this one.

    Args:
        guide: the guide that is trained; θ changes in sites that have a log σ² per weight.
        optimizer: the optimizer of its training.
    """
    for site in map(guide.site, guide.site_names):
        log_sigma2 = site._parameters.get("log_sigma2")
        if log_sigma2 is not None and site.theta.requires_grad and log_sigma2.shape == site.theta.shape:
            _clear(site.theta, (0.5 * log_sigma2).exp() * TINY**0.5)
    for state in filter(lambda each: isinstance(each, dict), optimizer.state.values()):  # a user's own class may hold more
        for mean in map(state.get, _MEANS):
            if _is_plain(mean):
                _clear(mean, TINY)


def _is_plain(mean: Any) -> bool:
    """Whether it is a tensor of numbers as torch stores them, neither sparse nor of another class, such as a quantised one."""
    return type(mean) is Tensor and mean.layout is torch.strided and mean.is_floating_point()


def _clear(tensor: Tensor, bound: Tensor | float) -> None:
    tensor.masked_fill_(tensor.abs() < bound, 0)
