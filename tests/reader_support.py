"""A small data set and a pair of model and guide for it, of which files are written and read."""

from __future__ import annotations

import torch

from pyro_vd import VariationalDropout
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.ready import mlp

DATA = torch.rand(12, 4), torch.arange(12) % 2


def pair(seed: int) -> tuple[BayesianNetwork, VariationalDropout]:
    torch.manual_seed(seed)
    model = BayesianNetwork(mlp((4, 3, 2)))
    return model, VariationalDropout(model)
