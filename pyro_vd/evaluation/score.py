"""How wrong predictions are, in one number: the likelihood says which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd.evaluation.observations import Observed, check_observations, class_labels, distribution_of
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.evaluation.scores import logits_of

ERROR, RMSE = "error", "rmse"
_SHARES = (ERROR,)  # in [0, 1], shown in %
_SHOWN = {RMSE: "RMSE"}


@dataclass(frozen=True)
class Score:
    """How wrong predictions are: the share of wrong classes, ``error``, or the root mean square error of numbers, ``rmse``."""

    name: str
    value: float
    lower_is_better: bool = True

    @property
    def is_share(self) -> bool:
        """Whether it is a share in [0, 1], which is shown in %."""
        return self.name in _SHARES

    @property
    def label(self) -> str:
        """What a table calls it: ``error %`` or ``RMSE``."""
        return f"{self.name} %" if self.is_share else _SHOWN.get(self.name, self.name)

    @property
    def shown(self) -> float:
        """The number that a table shows: of a share, the percentage."""
        return 100 * self.value if self.is_share else self.value

    def cell(self) -> str:
        """The number as a table shows it."""
        return f"{self.shown:.2f}" if self.is_share else f"{self.shown:.4g}"

    def __str__(self) -> str:
        return f"{self.label.removesuffix(' %')} {self.cell()}{' %' if self.is_share else ''}"

    def named(self) -> dict[str, float]:
        """The number by its name, as ``metrics.json`` has it."""
        return {self.name: self.value}

    def allows(self, other: Score, rise: float) -> bool:
        """Whether another score is worse by at most ``rise``: a difference of shares; of others, a share of this one."""
        worse = other.value - self.value if self.lower_is_better else self.value - other.value
        return worse <= rise * (1 if self.is_share else abs(self.value)) + 1e-12


def score_of(net: nn.Module, data: tuple[Tensor, Tensor], likelihood: Observed | None = None) -> Score:
    """The score of an ordinary network.

    Args:
        net: in evaluation mode meanwhile.
        data: inputs and observations.
        likelihood: of an observation given the output; None for classes from logits.
    """
    return output_score(outputs(net, data[0]), data[1], likelihood)


@torch.no_grad()
def output_score(output: Tensor, y: Tensor, likelihood: Observed | None = None) -> Score:
    """The score of a network's outputs ``(n, …)``, given the observations.

    Raises:
        InputError: the observations do not fit the outputs.
    """
    y = check_observations("data", y, likelihood, output)
    distribution = distribution_of(likelihood, output)
    found = logits_of(distribution)
    if found is not None:
        return Score(ERROR, (found.argmax(-1) != class_labels(y).to(found.device)).float().mean().item())
    mean = distribution.mean
    return Score(RMSE, (mean - y.to(mean)).double().square().mean().sqrt().item())


def score_in(metrics: Mapping[str, Any], prefix: str = "") -> Score | None:
    """The score among measured values, by the name that it has there; None where none was measured."""
    for name in (RMSE, ERROR):
        if (value := metrics.get(f"{prefix}{name}")) is not None:
            return Score(name, value)
    return None


def label_in(metrics: Mapping[str, Any]) -> str:
    """What a table calls the score of these measured values."""
    return (score_in(metrics) or Score(ERROR, 0.0)).label


def validation_score(
    net: nn.Module, validation: tuple[Tensor, Tensor] | None, likelihood: Observed | None
) -> dict[str, float | None]:
    """``{"validation_error": …}`` or ``{"validation_rmse": …}``; None without validation data."""
    if validation is None:
        return {f"validation_{ERROR}": None}
    score = score_of(net, validation, likelihood)
    return {f"validation_{score.name}": score.value}
