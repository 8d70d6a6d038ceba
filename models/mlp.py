"""Fully connected networks as Pyro models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.networks.ready import mlp


class MLP(BayesianNetwork):
    """A Bayesian, fully connected ReLU network; see :func:`~pyro_vd.networks.mlp`.

    Args:
        sizes: units per layer, inputs first.
        likelihood: see :class:`~pyro_vd.models.BayesianNetwork`.
        options: further arguments of :class:`~pyro_vd.models.BayesianNetwork` by name: ``prior``, ``shared``, ``num_data``.

    Raises:
        InputError: ``sizes`` are not at least two integers of at least 1; see also :class:`~pyro_vd.models.BayesianNetwork`.
    """

    def __init__(self, sizes: Sequence[int], likelihood: Likelihood | None = None, **options: Any) -> None:
        super().__init__(mlp(sizes), likelihood, **options)


class LeNet300(MLP):
    """LeNet-300-100 (LeCun 1998): 784-300-100-10 units, 266,200 weights; the arguments are those of :class:`MLP`."""

    def __init__(self, likelihood: Likelihood | None = None, **options: Any) -> None:
        super().__init__((784, 300, 100, 10), likelihood, **options)
