"""Likelihoods: the distribution of an observation given the network's output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd.export.pruned_file import read_info


class Likelihood(Protocol):
    """Maps the network's output, ``(batch, …)``, to a distribution with batch shape ``(batch,)``.

    One that is an ``nn.Module`` belongs to the model: its parameters are trained, moved and saved with it. A function will do
    where classes are observed from logits: it may depend on what the model draws, so ``fit`` and ``evaluate`` do not call it.
    """

    def __call__(self, output: Tensor) -> dist.TorchDistribution: ...


class Categorical:
    """Class labels from logits: output ``(batch, classes)``, observations ``(batch,)`` of integers in [0, classes)."""

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        # Not validated here, at every step: non-finite logits are the training loop's to report, by site.
        categorical: dist.TorchDistribution = dist.Categorical(logits=output, validate_args=False)
        return categorical


class Normal(nn.Module):
    """Numbers with Gaussian noise, y ~ N(output, scale²): output and observations ``(batch,)``, or ``(batch, …)`` for several.

    An output ``(batch, 1)`` is of observations ``(batch,)``. The noise is independent and of one scale for all numbers.

    Args:
        scale: standard deviation of the noise, in the units of the observations; None learns it with the network, by maximum
            likelihood: its logarithm is a parameter, ``log_scale``.
        initial_scale: where it then starts: right for standardized observations, otherwise give their standard deviation.

    Raises:
        InputError: a scale that is not a finite number above 0.
    """

    log_scale: Tensor

    def __init__(self, scale: float | None = None, initial_scale: float = 1.0) -> None:
        super().__init__()
        initial_scale = check_number("initial_scale", initial_scale, low=0, low_open=True)
        if scale is None:
            self.log_scale = nn.Parameter(torch.tensor(math.log(initial_scale)))
        else:
            scale = check_number("scale", scale, low=0, low_open=True)
            self.register_buffer("log_scale", torch.tensor(math.log(scale)))

    @property
    def scale(self) -> float:
        """The standard deviation of the noise."""
        return self.log_scale.exp().item()

    @property
    def options(self) -> dict[str, float]:
        """What a file says of it; see :func:`describe`."""
        return {"scale": self.scale}

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        mean = _without_column(output)
        return _one_an_example(dist.Normal(mean, self.log_scale.exp(), validate_args=False))

    def extra_repr(self) -> str:
        return f"scale={self.scale:.4g}{', learnt' if isinstance(self.log_scale, nn.Parameter) else ''}"


class Poisson:
    """Counts with a log link, y ~ Poisson(exp(output)); shapes as of :class:`Normal`, observations whole and 0 or more."""

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        return _one_an_example(dist.Poisson(_without_column(output).exp(), validate_args=False))


class Bernoulli:
    """Zeros and ones from logits, p(y = 1) = σ(output): yes or no, or several labels; shapes as of :class:`Normal`."""

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        return _one_an_example(dist.Bernoulli(logits=_without_column(output), validate_args=False))


def _without_column(output: Tensor) -> Tensor:
    return output[:, 0] if output.ndim == 2 and output.shape[1] == 1 else output


def _one_an_example(distribution: dist.TorchDistribution) -> dist.TorchDistribution:
    return distribution.to_event(len(distribution.batch_shape) - 1)


LIKELIHOODS: dict[str, type] = {"categorical": Categorical, "normal": Normal, "poisson": Poisson, "bernoulli": Bernoulli}
"""By the name that a recipe and a file have for it."""


def describe(likelihood: Likelihood) -> dict[str, Any]:
    """What the ``info`` of a network's file is to say of a likelihood of :data:`LIKELIHOODS`: of a categorical one nothing.

    A class whose constructor has arguments gives them, as plain numbers or text by name, in its property ``options``.

    Raises:
        InputError: a likelihood of another class.
    """
    name = next((name for name, kind in LIKELIHOODS.items() if type(likelihood) is kind), None)
    if name is None:
        raise InputError(name="likelihood", value=likelihood, allowed=f"one of {', '.join(LIKELIHOODS)}, to be named in a file")
    return {} if name == "categorical" else {"likelihood": {"name": name, **getattr(likelihood, "options", {})}}


def described(description: Any) -> Likelihood:
    """The likelihood that a file describes so.

    Raises:
        InputError: it is not what :func:`describe` gives.
    """
    try:
        options = dict(description)
        likelihood: Likelihood = LIKELIHOODS[options.pop("name")](**options)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"likelihood (={description!r}) of a file must name one of {', '.join(LIKELIHOODS)}") from error
    return likelihood


def likelihood_of(info: Mapping[str, Any]) -> Likelihood | None:
    """The likelihood that belongs to a network's file with this ``info``; None where it says nothing: classes from logits.

    Raises:
        InputError: it says something else than a run writes.
    """
    if "likelihood" not in info:
        return None
    return described(info["likelihood"])


def read_likelihood(path: Path | str) -> Likelihood | None:
    """The likelihood that a run has put into the ``info`` of a network's file; None where it says nothing.

    Raises:
        InputError: the file is missing, broken or foreign, or says something else than a run writes.
    """
    info = read_info(path)
    try:
        return likelihood_of(info)
    except Exception as error:  # what is in the file is anything
        raise InputError(f"{path}: {one_line(error)[:300]}") from error
