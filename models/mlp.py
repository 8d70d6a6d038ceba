"""Fully connected networks as Pyro models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihoods import Likelihood
from pyro_vd.networks.ready import mlp


class MLP(BayesianNetwork):
    """Bayesian fully connected ReLU network with ``sizes`` units per layer, input first; see :func:`~pyro_vd.networks.mlp`."""

    def __init__(self, sizes: Sequence[int], likelihood: Likelihood | None = None, **options: Any) -> None:
        super().__init__(mlp(sizes), likelihood, **options)


class LeNet300(MLP):
    """LeNet-300-100 (LeCun 1998): 784-300-100-10, 266,200 weights."""

    def __init__(self, likelihood: Likelihood | None = None, **options: Any) -> None:
        super().__init__((784, 300, 100, 10), likelihood, **options)
