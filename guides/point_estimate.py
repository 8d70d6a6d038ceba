"""A guide without noise: ordinary training, for pretraining, fine-tuning and baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pyro.distributions as dist
from torch import Tensor

from pyro_vd.guides.settings import GuideSettings
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork


class PointEstimate(WeightGuide):
    """q(w) = δ(w − θ), which is maximum likelihood: the ELBO is the log likelihood alone.

    Args:
        model: the Bayesian network; θ starts at its weights.
        masks: for each site, a boolean tensor of its weight's shape: weights where it is False stay 0. None keeps all weights.

    Raises:
        InputError: ``masks`` do not fit the model's weights.
    """

    def __init__(self, model: BayesianNetwork, masks: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(model)
        if masks is not None:
            self.apply_masks(masks)

    def posterior(self, name: str) -> dist.TorchDistribution:
        delta: dist.TorchDistribution = dist.Delta(self.mean(name))
        return delta


@dataclass
class PointEstimateSettings(GuideSettings):
    """A point estimate, without noise."""

    kind: Literal["none"] = field(default="none", init=False)

    guide: ClassVar[type[PointEstimate]] = PointEstimate

    def build(self, model: BayesianNetwork) -> PointEstimate:
        return PointEstimate(model)
