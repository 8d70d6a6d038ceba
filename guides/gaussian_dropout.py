"""Gaussian dropout: multiplicative Gaussian noise of a fixed variance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import pyro.distributions as dist

from pyro_vd._core.arguments import check_choice, check_rate
from pyro_vd.distributions.priors import LogUniform, NormalARD
from pyro_vd.distributions.weight_posterior import SharedAlphaNormal
from pyro_vd.guides.dropout_guide import DropoutGuide
from pyro_vd.guides.settings import GuideSettings
from pyro_vd.models.bayesian import BayesianNetwork

NoiseOn = Literal["weight", "unit"]
"""What has noise: every weight, or every hidden unit."""


class GaussianDropout(DropoutGuide):
    """A guide with multiplicative noise of mean 1 and variance α = p/(1 − p) on every weight, or on every hidden unit.

    Srivastava 2014, section 10; as a posterior under the log-uniform prior Kingma 2015, arXiv 1506.02557, section 3. The KL is
    constant, because α is. :class:`~pyro_vd.guides.VariationalDropout` learns α.

    Args:
        model: the Bayesian network; θ starts at its weights.
        p: dropout rate, in [0, 1); p = 0 is no noise.
        noise_on: ``"weight"``: noise on every weight of every layer, drawn through the layer's output. ``"unit"``: noise on
            every hidden unit, per example; data and outputs have none.

    Raises:
        InputError: ``p`` or ``noise_on`` is out of range. With noise on weights: weights of half precision. With noise on
            units: the model has no hidden units.
    """

    def __init__(self, model: BayesianNetwork, p: float, noise_on: NoiseOn = "weight") -> None:
        check_choice("noise_on", noise_on, get_args(NoiseOn))
        self.noise_on = noise_on
        super().__init__(model, p)
        if noise_on == "unit":
            self.check_units()

    @property
    def needs_float32(self) -> bool:
        return self.noise_on == "weight"

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, noise_on={self.noise_on!r}"

    def posterior(self, name: str) -> dist.TorchDistribution:
        if self.noise_on == "unit":
            return self.unit_posterior(name, "gaussian")
        mean = self.mean(name)
        log_alpha = math.log(self.p / (1 - self.p)) if self.p else -math.inf
        return SharedAlphaNormal(mean, mean.new_tensor(log_alpha), validate_args=False)


@dataclass
class GaussianDropoutSettings(GuideSettings):
    """Gaussian dropout: Gaussian noise of a fixed rate on every weight, or on every hidden unit."""

    kind: Literal["gaussian"] = field(default="gaussian", init=False)
    p: float = 0.5
    """The dropout rate, in [0, 1); the variance of the noise is p/(1 − p)."""
    noise_on: NoiseOn = "weight"
    """Whether each weight or each hidden unit has noise."""

    guide: ClassVar[type[GaussianDropout]] = GaussianDropout

    def __post_init__(self) -> None:
        self.p = check_rate("p", self.p)
        check_choice("noise_on", self.noise_on, get_args(NoiseOn))

    @property
    def priors(self) -> tuple[type[Any], ...]:
        return (LogUniform, NormalARD) if self.noise_on == "weight" else (LogUniform,)

    def build(self, model: BayesianNetwork) -> GaussianDropout:
        return GaussianDropout(model, self.p, self.noise_on)
