"""A model with a shift of the outputs as a further latent site, of which the exact posterior is known, and its data."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork
from pyro_vd.models import Normal

N, SD, TAU = 20, 0.7, 1.5
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(2))
Y = X @ torch.tensor([1.0, -0.5, 0.0]) + 0.8 + SD * torch.randn(N, generator=torch.Generator().manual_seed(3))


def shift_model() -> tuple[BayesianNetwork, Callable]:
    """A network without noise in its weights, as it comes, and one more site: a shift a ~ N(0, τ²) of all observations."""
    torch.manual_seed(0)
    network = BayesianNetwork(nn.Sequential(nn.Linear(3, 1, bias=False)), likelihood=Normal(SD))

    def model(x: Tensor, y: Tensor | None = None) -> Tensor:
        a = pyro.sample("a", dist.Normal(0.0, TAU))
        mean = network.sample_output(x)[:, 0] + a
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(mean, SD), obs=y)
        return mean

    return network, model
