"""The choice of the pruning threshold on validation data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd.data.dataset import Data
from pyro_vd.evaluation.deployed import stored_size
from pyro_vd.evaluation.score import score_of
from pyro_vd.guides.checks import check_guide
from pyro_vd.models.data_checks import check_held_out
from pyro_vd.networks.sizes import compression
from pyro_vd.pruning.pruned import masked
from pyro_vd.pruning.rule import pruning_masks
from pyro_vd.pruning.thresholds import ThresholdChoice, ThresholdTrial, check_thresholds, highest_threshold

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide


CANDIDATES = tuple(k / 4 for k in range(-16, 33))
"""Thresholds that :func:`choose_threshold` tries, from −4 to 8."""


def choose_threshold(
    guide: WeightGuide,
    validation: Data,
    max_error_rise: float = 0.0,
    candidates: Sequence[float] = CANDIDATES,
) -> ThresholdChoice:
    """Return the lowest threshold, which has the largest compression, among those whose validation error is small enough.

    The error must be at most that of the unpruned network plus ``max_error_rise``. Where the guide was trained with a
    ``train_threshold``, means with a larger log α were never used: they are zero in the unpruned network, and larger candidates
    are not tried.

    Args:
        guide: a trained guide that learns α.
        validation: data held out from training, in any form that :func:`~pyro_vd.fit` takes; never the test data.
        max_error_rise: in [0, 1]. For classes, a difference of error shares (0.001 is a tenth of a percentage point); for
            numbers, a share of the unpruned root mean square error.
        candidates: the thresholds to try.

    Raises:
        InputError: ``guide`` is not a guide with log α; ``max_error_rise`` is out of range; the data do not fit the network;
            there is no candidate; or no candidate has a small enough error.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork, VariationalDropout, choose_threshold, prune
        >>> guide = VariationalDropout(BayesianNetwork(nn.Linear(4, 3)))
        >>> rule = choose_threshold(guide, (torch.randn(50, 4), torch.arange(50) % 3), max_error_rise=0.02)
        >>> small = prune(guide, rule)
    """
    check_guide(guide)
    model = guide.model
    max_error_rise = check_number("max_error_rise", max_error_rise, low=0, high=1)
    highest = highest_threshold(guide.train_threshold)
    tried = sorted(threshold for threshold in check_thresholds("candidates", candidates) if threshold <= highest)
    if not tried:
        raise InputError(
            f"candidates (={quoted(candidates)}) must hold a threshold of at most {highest}, the guide's train_threshold",
            name="candidates",
            value=candidates,
            allowed=f"thresholds, one of them at most {highest}",
        )
    unpruned, held_out = masked(guide, pruning_masks(guide, highest)), check_held_out("validation data", validation, model)
    best = score_of(unpruned, held_out, model.observed)
    if not math.isfinite(best.value):
        raise InputError(
            f"validation data: the {best.name} of the unpruned network is {best.value}; it must be finite to choose by it",
            name="validation data",
            value=best.value,
            allowed="a finite score",
        )
    trials, good = [], []
    for threshold in tried:
        net = masked(guide, pruning_masks(guide, threshold))
        score = score_of(net, held_out, model.observed)
        trials.append(ThresholdTrial(threshold, score.value, compression(net, model.weight_names), **vars(stored_size(net))))
        if best.allows(score, max_error_rise):
            good.append(threshold)
    if not good:
        raise InputError(
            f"max_error_rise (={max_error_rise}) must be larger, or candidates other ones: at no threshold from {tried[0]:g} "
            f"to {tried[-1]:g} is the validation error within {max_error_rise} of the unpruned {best.value:.4f}",
            name="max_error_rise",
            value=max_error_rise,
        )
    return ThresholdChoice(good[0], best.value, tuple(trials))
