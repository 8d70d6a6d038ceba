"""The plain sparse network that is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from pyro_vd.pruning.masks import kept_weights
from pyro_vd.pruning.thresholds import (
    DEFAULT_THRESHOLD,
    Threshold,
)

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.models.bayesian import BayesianNetwork


@torch.no_grad()
def prune(
    model: BayesianNetwork, guide: WeightGuide, threshold: Threshold = DEFAULT_THRESHOLD, units: Sequence[int] | None = None
) -> nn.Module:
    """The posterior mean with every weight of log α ≥ ``threshold`` set to zero, as an ordinary network without Pyro.

    Args:
        model: the trained model.
        guide: its trained guide.
        threshold: on log α, a number or what :func:`choose_threshold` gives; a lower one prunes more.
        units: the most inputs that each layer keeps; see :func:`kept_weights`, also for what is refused.

    Raises:
        InputError: the threshold is no number, or a log α is NaN, the guide has no log α, or ``units`` do not fit.
    """
    masks = kept_weights(model, guide, threshold, units)
    return model.plain_network({name: guide.mean(name) * mask for name, mask in masks.items()})
