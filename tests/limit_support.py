"""A small data set, options of a short training, and a small pair of model and guide."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pyro_vd import BayesianNetwork, VariationalDropout
from pyro_vd.guides import WeightGuide

X, Y = torch.randn(48, 8, generator=torch.Generator().manual_seed(0)), torch.arange(48) % 3
OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 16, "progress": False}
Pair = tuple[BayesianNetwork, WeightGuide]


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


def variational(net: nn.Module | None = None, likelihood: Any = None) -> Pair:
    model = BayesianNetwork(net or plain(), likelihood)
    return model, VariationalDropout(model)
