"""Likelihoods: the distribution of an observation given the network's output."""

from __future__ import annotations

from typing import Protocol

import pyro.distributions as dist
from torch import Tensor


class Likelihood(Protocol):
    """Maps the network's output, ``(batch, …)``, to a distribution with batch shape ``(batch,)``."""

    def __call__(self, output: Tensor) -> dist.TorchDistribution: ...


class Categorical:
    """Class labels from logits: output ``(batch, classes)``, observations ``(batch,)`` of integers in [0, classes)."""

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        # Not validated here, at every step: non-finite logits are the training loop's to report, by site.
        categorical: dist.TorchDistribution = dist.Categorical(logits=output, validate_args=False)
        return categorical
