"""How far a score would vary with other examples of the same kind: its standard error, and the interval of a share."""

from __future__ import annotations

import math

from torch import Tensor, nn

from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.evaluation.score import RMSE, losses_of
from pyro_vd.networks.inputs import num_examples


def score_standard_error(net: nn.Module, data: Arrays, likelihood: Observed | None = None) -> float:
    """Return the standard error of :func:`~pyro_vd.evaluation.score.score_of` over independent examples, in the score's unit.

    The labels of one example, such as those of its tokens or pixels, are not independent and are taken together: the score is
    the ratio of two sums over examples, of losses and of the number of observations, and its variance follows by the delta
    method. For one label per example it is √(p (1 − p) / n) of the share p of wrong predictions.

    Args:
        net: an ordinary network; it runs in evaluation mode.
        data: inputs and observations ``(n, …)``.
        likelihood: maps the output to the distribution of the observations; None for classes from logits.

    Raises:
        InputError: the observations do not fit the network's outputs.
    """
    x, y = data
    name, losses, counted = losses_of(outputs(net, x, likelihood), y, likelihood)
    counted = counted.reshape(*counted.shape, *(1,) * (losses.ndim - counted.ndim)).expand_as(losses)
    examples = num_examples(x)
    total, count = (_by_example(values, examples) for values in (losses.where(counted, 0), counted))
    mean = (total.sum() / count.sum()).item()
    variance = (total - mean * count).square().sum().item() / count.sum().item() ** 2
    if name == RMSE:  # of a square root: d√m = dm / 2√m
        return math.sqrt(variance) / (2 * math.sqrt(mean)) if mean else 0.0
    return math.sqrt(variance)


def share_interval(share: float, examples: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of a share that was measured on independent examples, by default of 95 %.

    Unlike share ± z standard errors it stays in [0, 1], and has a width where the share is 0 or 1.
    """
    middle = (share + z**2 / (2 * examples)) / (1 + z**2 / examples)
    half = z / (1 + z**2 / examples) * math.sqrt(share * (1 - share) / examples + z**2 / (4 * examples**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _by_example(values: Tensor, examples: int) -> Tensor:
    """Sums of the values of each example; the labels of several zeros and ones per example come flattened."""
    return values.double().reshape(examples, -1).sum(1)
