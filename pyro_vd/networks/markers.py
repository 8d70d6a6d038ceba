"""Marks of modules that are not ordinary networks; the packages that make them stand above this one."""

from __future__ import annotations

from torch import nn


class ModelMarker:
    """Marks a Bayesian network: it makes ordinary networks with ``to_module(weights)``."""


class GuideMarker(nn.Module):
    """Marks a guide: it holds its model as ``model`` and predicts with ``predictor(num_samples)``."""

    model: nn.Module
    """The Pyro model whose latent sites the guide draws."""
