"""The score of predictions, one number that measures their error; the likelihood determines which."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.checked_batches import CheckedBatches
from pyro_vd.evaluation.class_labels import hard_labels
from pyro_vd.evaluation.observations import Observed, check_observations, distribution_of
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.evaluation.scores import kept, log_likelihood, logits_of
from pyro_vd.evaluation.structured import JointDistribution, unweighted
from pyro_vd.networks.inputs import num_examples

ERROR, RMSE, NLL = "error", "rmse", "nll"
_SHARES = (ERROR,)  # in [0, 1], shown in %
_SHOWN = {RMSE: "RMSE", NLL: "NLL"}
Found = tuple[str, Tensor, Tensor]
"""The name of a score, losses, and a mask of those that count; see :func:`losses_of`."""


@dataclass(frozen=True)
class Score:
    """A measure of the error of predictions, by its name.

    It is the share of wrong classes, ``error``; the RMSE of numbers, ``rmse``; or, where several heads are observed, the
    negative log likelihood of all, ``nll``, in nats per example.
    """

    name: str
    value: float
    lower_is_better: bool = True

    @property
    def is_share(self) -> bool:
        """Whether the value is a share in [0, 1], which is shown in %."""
        return self.name in _SHARES

    @property
    def label(self) -> str:
        """The name in a table: ``error %`` or ``RMSE``."""
        return f"{self.name} %" if self.is_share else _SHOWN.get(self.name, self.name)

    @property
    def shown(self) -> float:
        """The value in a table: a percentage if it is a share."""
        return 100 * self.value if self.is_share else self.value

    def cell(self) -> str:
        """Return the value as text for a table."""
        return f"{self.shown:.2f}" if self.is_share else f"{self.shown:.4g}"

    def __str__(self) -> str:
        return f"{self.label.removesuffix(' %')} {self.cell()}{' %' if self.is_share else ''}"

    def named(self) -> dict[str, float]:
        """Return the value by name, as in ``metrics.json``."""
        return {self.name: self.value}

    def allows(self, other: Score, rise: float) -> bool:
        """Whether another score is worse by at most ``rise``, an absolute rise for shares, and a relative one otherwise."""
        worse = other.value - self.value if self.lower_is_better else self.value - other.value
        return worse <= rise * (1 if self.is_share else abs(self.value)) + 1e-12


def score_of(net: nn.Module, data: Arrays | CheckedBatches, likelihood: Observed | None = None) -> Score:
    """Return the score of an ordinary network.

    Args:
        net: the network; it runs in evaluation mode.
        data: inputs and observations ``(n, …)``, or batches of them.
        likelihood: maps the output to the distribution of the observations; None for classes from logits.

    Raises:
        InputError: the observations do not fit the network's outputs.
    """
    batches = data if isinstance(data, CheckedBatches) else [data]
    return mean_score([_score(*found) for found, _ in batch_losses(net, batches, likelihood)])


def batch_losses(net: nn.Module, batches: Iterable[Arrays], likelihood: Observed | None) -> Iterator[tuple[Found, int]]:
    """Yield, for each batch, what :func:`losses_of` returns and the number of examples.

    The score of a training's log and of a run is their mean as float32 has it; that of :class:`~.standard_error.Losses` is
    summed in float64, example by example.
    """
    for x, y in batches:
        yield losses_of(outputs(net, x, likelihood), y, likelihood), num_examples(x)


def output_score(output: Tensor, y: Tensor, likelihood: Observed | None = None) -> Score:
    """Return the score of a network's outputs ``(n, …)`` for the observations ``(n, …)``.

    Raises:
        InputError: the observations do not fit the outputs.
    """
    return counted_score(output, y, likelihood)[0]


def mean_score(parts: list[tuple[Score, int]]) -> Score:
    """Return the score of all batches from those of each, with the number of observations that count in it."""
    if len(parts) == 1:
        return parts[0][0]
    power = 2 if parts[0][0].name == RMSE else 1
    total = sum(count * score.value**power for score, count in parts if count)
    count = sum(count for _, count in parts)
    return Score(parts[0][0].name, (total / count) ** (1 / power) if count else math.nan)


def counted_score(output: Tensor, y: Tensor, likelihood: Observed | None) -> tuple[Score, int]:
    """Return the score of a batch, and the number of observations that count in it."""
    return _score(*losses_of(output, y, likelihood))


def _score(name: str, losses: Tensor, counted: Tensor) -> tuple[Score, int]:
    losses = losses[counted]
    if name == RMSE:
        return Score(RMSE, losses.mean().sqrt().item()), losses.numel()
    return Score(name, losses.mean().item()), losses.numel()


@torch.no_grad()
def losses_of(output: Tensor, y: Tensor, likelihood: Observed | None) -> Found:
    """Return the name of the score of a batch, the losses whose mean it is made of, ``(n, …)``, and a mask of those that count.

    A loss is 1 for a wrong class and 0 for the right one; the squared error of a number; or the negative log likelihood of all
    heads of an example.
    """
    y = check_observations("data", y, likelihood, output)
    distribution = distribution_of(likelihood, output)
    if isinstance(distribution, JointDistribution):
        found = -log_likelihood(distribution, y).double()
        return NLL, found, torch.ones_like(found, dtype=torch.bool)
    observed, y, weight = unweighted(distribution, y)
    logits = logits_of(observed)
    counted = kept(observed, y, weight)
    if logits is not None:
        wrong = logits.argmax(-1) != hard_labels(y, logits).to(logits.device)
        return ERROR, wrong.float(), counted.to(wrong.device)
    errors: Tensor = observed.mean - y.to(observed.mean)
    return RMSE, errors.double().square(), counted.to(errors.device)


def score_in(metrics: Mapping[str, Any], prefix: str = "") -> Score | None:
    """Return the score among measured values by name, such as ``rmse`` after ``prefix``; None if there is none."""
    for name in (RMSE, ERROR, NLL):
        if (value := metrics.get(f"{prefix}{name}")) is not None:
            return Score(name, value)
    return None


def label_in(metrics: Mapping[str, Any]) -> str:
    """Return the name in a table of the score among these measured values."""
    return (score_in(metrics) or Score(ERROR, 0.0)).label


def validation_score(net: nn.Module, validation: Arrays | None, likelihood: Observed | None) -> dict[str, float | None]:
    """Return the score by its name, as ``{"validation_error": …}``; the value is None without validation data."""
    if validation is None:
        return {f"validation_{ERROR}": None}
    score = score_of(net, validation, likelihood)
    return {f"validation_{score.name}": score.value}
