"""Marks of modules that are not ordinary networks; the packages that make them stand above this one."""

from __future__ import annotations


class ModelMarker:
    """Marks a Bayesian network: it makes ordinary networks with ``to_module(weights)``."""


class GuideMarker:
    """Marks a guide: it holds its model as ``model`` and predicts with ``predictor(num_samples)``."""
