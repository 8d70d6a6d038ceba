"""What pruning at each of many thresholds would leave: measured on validation data, and the masks of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pyro_vd._core.terminal import console
from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.checked_batches import CheckedBatches
from pyro_vd.evaluation.deployed import DeployedSize, deployed_size
from pyro_vd.evaluation.score import Score
from pyro_vd.evaluation.standard_error import losses_by_example
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.networks.inputs import Inputs, rows
from pyro_vd.networks.sizes import compression
from pyro_vd.pruning.pruned import masked
from pyro_vd.pruning.rule import PruningRule, pruning_masks
from pyro_vd.pruning.threshold_choice import CANDIDATES
from pyro_vd.pruning.thresholds import highest_threshold
from pyro_vd.training.progress import Bars

_BELOW = 8
"""The steps from a chosen threshold to the lowest candidate, where it is far below."""


@dataclass(frozen=True)
class Step:
    """A threshold, and the network that it leaves.

    Attributes:
        threshold: on log α.
        score: on the validation data.
        compression: |W| / |W kept|.
        size: of the compact network.
        examples: how many validation examples there are.
        left: the number of weights that are left, by site.
    """

    threshold: float
    score: Score
    compression: float
    size: DeployedSize
    examples: int
    left: Mapping[str, int]


@dataclass(frozen=True)
class ThresholdCurve:
    """The networks that the thresholds leave.

    Attributes:
        steps: one for each threshold, the lowest first.
        chosen: the number of the step at which the network was pruned.
        levels: by site, for each weight the number of steps that keep it, the last ones; uint8, in the shape of the weight.
    """

    steps: tuple[Step, ...]
    chosen: int
    levels: Mapping[str, Tensor] = field(repr=False)


@torch.no_grad()
def threshold_curve(
    guide: WeightGuide,
    rule_at: Callable[[float], PruningRule],
    chosen: float,
    validation: Arrays | CheckedBatches,
    example: Inputs,
    progress: bool,
) -> ThresholdCurve:
    """Prune at the thresholds that :func:`~pyro_vd.choose_threshold` tries by itself, and at the chosen one.

    A weight that a threshold keeps is kept by all higher ones.

    Args:
        guide: a trained guide that learns α, on the CPU.
        rule_at: the rule with a threshold.
        chosen: the threshold at which the network was pruned.
        validation: to measure on.
        example: a few inputs.
        progress: whether to show how far it is.
    """
    highest = highest_threshold(guide.train_threshold)
    thresholds = sorted({threshold for threshold in (*_below(chosen), *CANDIDATES) if threshold <= highest} | {chosen})
    levels = {name: torch.zeros(guide.mean(name).shape, dtype=torch.uint8) for name in guide.site_names}
    steps: list[Step] = []
    on = console(stderr=True)
    with Bars(console=on, disable=not (progress and on.is_terminal)) as bars:
        for threshold in bars.track(thresholds, description="thresholds"):
            masks = pruning_masks(guide, rule_at(threshold))
            for name, mask in masks.items():
                levels[name] += mask
            left = {name: int(mask.count_nonzero()) for name, mask in masks.items()}
            if steps and steps[-1].left == left:  # the same network
                steps.append(replace(steps[-1], threshold=threshold))
            else:
                steps.append(_measured(guide, masks, threshold, validation, example, left))
    return ThresholdCurve(tuple(steps), thresholds.index(chosen), levels)


def _below(chosen: float) -> list[float]:
    """Thresholds from a chosen one to the lowest candidate, where it is far below."""
    distance = CANDIDATES[0] - chosen
    return [chosen + distance * k / _BELOW for k in range(1, _BELOW)] if 1 < distance < math.inf else []


def _measured(
    guide: WeightGuide,
    masks: Mapping[str, Tensor],
    threshold: float,
    data: Arrays | CheckedBatches,
    example: Inputs,
    left: Mapping[str, int],
) -> Step:
    net, model = masked(guide, masks), guide.model
    size = deployed_size(net, rows(example, slice(1)))
    assert size is not None  # it has weights
    losses = losses_by_example(net, data, model.observed)
    return Step(threshold, losses.score, compression(net, model.weight_names), size, len(losses.sums), left)
