"""Likelihoods: the distribution of an observation given the network's output."""

from __future__ import annotations

import math
from typing import Protocol

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import check_number


class Likelihood(Protocol):
    """A map from the network's output, ``(batch, …)``, to a distribution with batch shape ``(batch,)``.

    A likelihood that is an ``nn.Module`` belongs to the model: its parameters are trained, moved and saved with the model. A
    function is only allowed for classes from logits, because ``fit`` and ``evaluate`` do not call it: it may depend on what the
    model draws.
    """

    def __call__(self, output: Tensor) -> dist.TorchDistribution: ...


class Categorical:
    """Class labels from logits: output ``(batch, classes)``, observations ``(batch,)``, integers in [0, classes)."""

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        # Not validated here, at every step: the training loop reports non-finite logits, with the names of the sites.
        categorical: dist.TorchDistribution = dist.Categorical(logits=output, validate_args=False)
        return categorical


class Normal(nn.Module):
    """Numbers with Gaussian noise, y ~ N(output, scale²).

    Output and observations have the shape ``(batch,)``, or ``(batch, …)`` for several numbers per example. An output
    ``(batch, 1)`` belongs to observations ``(batch,)``. The noise is independent and has one scale for all numbers.

    Args:
        scale: standard deviation of the noise, in the units of the observations. None learns it with the network, by maximum
            likelihood; the parameter ``log_scale`` is its logarithm.
        initial_scale: the start of a learnt scale. 1 suits standardized observations; otherwise give their standard deviation.

    Raises:
        InputError: ``scale`` or ``initial_scale`` is not a finite number above 0.
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
        """The standard deviation of the noise, in the units of the observations."""
        return self.log_scale.exp().item()

    @property
    def options(self) -> dict[str, float]:
        """The constructor's arguments that a file keeps; see :func:`~pyro_vd.models.likelihood_files.describe`."""
        return {"scale": self.scale}

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        mean = _without_column(output)
        return _one_per_example(dist.Normal(mean, self.log_scale.exp(), validate_args=False))

    def extra_repr(self) -> str:
        return f"scale={self.scale:.4g}{', learnt' if isinstance(self.log_scale, nn.Parameter) else ''}"


class Poisson:
    """Counts with a log link, y ~ Poisson(exp(output)).

    Output and observations have the shapes of :class:`Normal`; observations are whole numbers of at least 0.
    """

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        return _one_per_example(dist.Poisson(_without_column(output).exp(), validate_args=False))


class Bernoulli:
    """Zeros and ones from logits, p(y = 1) = σ(output): one yes or no per example, or several labels.

    Output and observations have the shapes of :class:`Normal`; observations are 0 or 1.
    """

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        return _one_per_example(dist.Bernoulli(logits=_without_column(output), validate_args=False))


def _without_column(output: Tensor) -> Tensor:
    return output[:, 0] if output.ndim == 2 and output.shape[1] == 1 else output


def _one_per_example(distribution: dist.TorchDistribution) -> dist.TorchDistribution:
    return distribution.to_event(len(distribution.batch_shape) - 1)


LIKELIHOODS: dict[str, type] = {"categorical": Categorical, "normal": Normal, "poisson": Poisson, "bernoulli": Bernoulli}
"""The classes of likelihoods by the names that recipes and files have for them."""
