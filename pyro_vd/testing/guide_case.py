"""A guide to be tested: how it is made, the networks and data that it is tried on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd.distributions.priors import LogUniform
from pyro_vd.guides.means import posterior_mean
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.site_priors import Prior
from pyro_vd.testing.statistics import Seeded
from pyro_vd.training.fit_result import FitResult
from pyro_vd.training.fitting import fit

DRAWS = 20_000


class GuideCase(Seeded, ABC):
    """What the tests of a guide are run on."""

    prior: Prior = LogUniform
    """The prior that the guide needs; of a function, ``staticmethod``."""

    @abstractmethod
    def make(self, model: BayesianNetwork) -> WeightGuide:
        """The guide, with settings that leave noise to be seen: log α of about −3 rather than −10."""

    def network(self) -> nn.Module:
        """A network for inputs ``(n, 6)`` with 3 outputs, which the tests train."""
        return nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Linear(8, 3))

    def convolution(self) -> nn.Module:
        """A network for the same inputs with a convolution; :meth:`network` again, where the guide takes none."""
        return nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))

    def guide(self, net: nn.Module | None = None) -> WeightGuide:
        """A new guide of a new model of :meth:`network`, or of another network."""
        model = BayesianNetwork(self.network() if net is None else net, prior=type(self).prior, num_data=60)
        return self.make(model)

    def data(self) -> tuple[Tensor, Tensor]:
        """Inputs and three classes that a network can learn from them."""
        x = torch.rand(60, 6, generator=torch.Generator().manual_seed(1))
        return x, (x.sum(1) > 3).long() + (x[:, 0] > 0.8)

    def fit(self, guide: WeightGuide, epochs: int = 4, **options: Any) -> FitResult:
        """A short training."""
        settings = {"batch_size": 20, "lr": 0.02, "kl_weight": 0.01, "progress": False}
        return fit(guide, self.data(), epochs=epochs, **{**settings, **options})

    def remove_half(self, guide: WeightGuide) -> dict[str, Tensor]:
        """Remove about half of the weights at random, a few of every layer left; returns what is left."""
        masks = {name: torch.rand(guide.mean(name).shape) < 0.5 for name in guide.site_names}
        guide.apply_masks(masks)
        return masks

    def outputs(self, guide: WeightGuide, x: Tensor) -> Tensor:
        """Outputs ``(draws, …)`` of the model's network, each under one draw of all weights."""
        net = posterior_mean(guide)
        with torch.no_grad():
            weights = {name: guide.posterior(name).rsample((DRAWS,)) for name in guide.site_names}
            return torch.vmap(lambda drawn: torch.func.functional_call(net, drawn, (x,)))(weights)
