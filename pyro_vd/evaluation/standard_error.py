"""How far a score would vary with other examples of the same kind: its standard error, and its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.checked_batches import CheckedBatches
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.score import ERROR, RMSE, Score, batch_losses

_Z = 1.959964
"""The quantile of the normal distribution for intervals of 95 %."""


@dataclass(frozen=True)
class Losses:
    """The losses of a network, of which its score is made.

    The labels of one example, such as those of its tokens or pixels, are not independent and are taken together: the score is
    the ratio of two sums over examples, of losses and of the number of observations, and its variance follows by the delta
    method. For one label per example it is p (1 − p) / n of the share p of wrong predictions.

    Attributes:
        name: of the score.
        sums: ``(n,)``, the sum of the losses of each example.
        counts: ``(n,)``, the number of observations of each example that count.
    """

    name: str
    sums: Tensor
    counts: Tensor

    @property
    def mean(self) -> float:
        """The mean loss over all observations."""
        return (self.sums.sum() / self.counts.sum()).item()

    @property
    def variance(self) -> float:
        """The variance of the mean loss over independent examples."""
        return (self.sums - self.mean * self.counts).square().sum().item() / self.counts.sum().item() ** 2

    @property
    def score(self) -> Score:
        """The score over all observations."""
        return Score(self.name, math.sqrt(self.mean) if self.name == RMSE else self.mean)

    @property
    def standard_error(self) -> float:
        """The standard error of the score, in its unit."""
        if self.name == RMSE:  # of a square root: d√m = dm / 2√m
            return math.sqrt(self.variance) / (2 * math.sqrt(self.mean)) if self.mean else 0.0
        return math.sqrt(self.variance)

    @property
    def is_binary(self) -> bool:
        """Whether every example has one class, which is right or wrong."""
        return self.name == ERROR and bool((self.counts == 1).all())

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of 95 % of the score over other examples: Wilson's for one class per example, else a normal one."""
        if self.is_binary:
            return share_interval(self.score.value, len(self.sums))
        half = _Z * math.sqrt(self.variance)
        low, high = self.mean - half, self.mean + half
        return (math.sqrt(max(0.0, low)), math.sqrt(high)) if self.name == RMSE else (low, high)


def losses_by_example(net: nn.Module, data: Arrays | CheckedBatches, likelihood: Observed | None = None) -> Losses:
    """Return the losses of an ordinary network, example by example.

    Args:
        net: the network; it runs in evaluation mode.
        data: inputs and observations ``(n, …)``, or batches of them.
        likelihood: maps the output to the distribution of the observations; None for classes from logits.

    Raises:
        InputError: the observations do not fit the network's outputs.
    """
    return losses_in(net, data if isinstance(data, CheckedBatches) else [data], likelihood)


def losses_in(net: nn.Module, batches: Iterable[Arrays], likelihood: Observed | None = None) -> Losses:
    """Return the losses of :func:`losses_by_example` in batches of inputs and observations."""
    sums, counts, name = [], [], ERROR
    for found, examples in batch_losses(net, batches, likelihood):
        name, losses, counted = found
        counted = counted.reshape(*counted.shape, *(1,) * (losses.ndim - counted.ndim)).expand_as(losses)
        sums.append(_by_example(losses.where(counted, 0), examples))
        counts.append(_by_example(counted, examples))
    return Losses(name, torch.cat(sums), torch.cat(counts))


def score_standard_error(net: nn.Module, data: Arrays, likelihood: Observed | None = None) -> float:
    """Return the standard error of :func:`~pyro_vd.evaluation.score.score_of` over independent examples, in the score's unit.

    Args and errors: see :func:`losses_by_example`.
    """
    return losses_by_example(net, data, likelihood).standard_error


def share_interval(share: float, examples: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of a share that was measured on independent examples, by default of 95 %.

    Unlike share ± z standard errors it stays in [0, 1], and has a width where the share is 0 or 1.
    """
    middle = (share + z**2 / (2 * examples)) / (1 + z**2 / examples)
    half = z / (1 + z**2 / examples) * math.sqrt(share * (1 - share) / examples + z**2 / (4 * examples**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _by_example(values: Tensor, examples: int) -> Tensor:
    """Sums of the values of each example; the labels of several zeros and ones per example come flattened."""
    return values.double().reshape(examples, -1).sum(1).cpu()
