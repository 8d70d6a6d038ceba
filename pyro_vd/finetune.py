"""Masked fine-tuning: ordinary training of what pruning has left."""

from __future__ import annotations

from typing import Any

from torch import nn

from pyro_vd.guides.point_estimate import PointEstimate
from pyro_vd.metrics import Arrays
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihoods import Likelihood
from pyro_vd.posterior import mean_network
from pyro_vd.training import FitResult, fit


def fine_tune(
    net: nn.Module,
    train: Arrays,
    validation: Arrays | None = None,
    *,
    likelihood: Likelihood | None = None,
    **options: Any,
) -> tuple[nn.Module, FitResult]:
    """A pruned network trained on, without noise; weights that are zero stay zero.

    Args:
        net: a pruned network, left as it is.
        train, validation: as for :func:`~pyro_vd.training.fit`.
        likelihood: as for :class:`~pyro_vd.models.BayesianNetwork`.
        options: any others of :func:`~pyro_vd.training.fit`; ``epochs`` is needed.

    Returns:
        The new network and the training's history.

    Raises:
        InputError: as :func:`~pyro_vd.training.fit`.
    """
    model = BayesianNetwork(net, likelihood)
    guide = PointEstimate(model, {name: weight != 0 for name, weight in model.initial_weights.items()})
    result = fit(model, guide, train, validation, **{"phase": "finetune", **options})
    return mean_network(model, guide), result
