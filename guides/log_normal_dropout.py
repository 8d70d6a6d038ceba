"""Structured Bayesian pruning: truncated log-normal noise on every unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor

from pyro_vd._core.arguments import check_flag, check_number
from pyro_vd.distributions.log_normal import LogNormalUnits, TruncatedLogNormal
from pyro_vd.distributions.priors import LogUniform
from pyro_vd.guides.settings import GuideSettings
from pyro_vd.guides.unit_guide import UnitGuide
from pyro_vd.models.bayesian import BayesianNetwork


class LogNormalDropout(UnitGuide):
    """Each input unit and filter is multiplied by z ≤ 1, log z ~ N(μ, σ²) on [−20, 0], for each example anew.

    Neklyudov, Molchanov, Ashukha and Vetrov 2017, arXiv 1705.07283. Its log α is log Var z − log (E z)² = −2 log SNR, so that
    units with a signal-to-noise ratio below 1, which the paper removes, are those above a threshold of 0; it reaches about 2.2,
    where log z is uniform. The posterior mean, used at test time, is θ E z.

    Args:
        model: its prior is the default, ``LogUniform``; θ starts so that θ E z is its own weights, μ at 0.
        log_sigma2: log σ² at the start, in [−60, 0]; about −8 for a trained network.
        weight_noise: whether weights have noise of their own as well, that of variational dropout, N(θ, σ²) with the KL of
            each (Molchanov 2017, arXiv 1701.05369). The paper has none: θ is a point estimate, and the KL is that of z alone.

    Raises:
        InputError: another prior; a transposed or grouped convolution; ``log_sigma2`` out of range; weights of half
            precision.
    """

    initial_z_mu: float = 0.0
    prior = LogUniform
    posterior_type = LogNormalUnits

    def __init__(self, model: BayesianNetwork, log_sigma2: float = -8.0, weight_noise: bool = False) -> None:
        super().__init__(model, log_sigma2, weight_noise)

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        parameters = super().initial_parameters(name, weight)
        z = TruncatedLogNormal(parameters["z_mu"], parameters["z_log_sigma2"])
        return {**parameters, "theta": weight / z.mean.to(weight.dtype)}


@dataclass
class LogNormalDropoutSettings(GuideSettings):
    """Structured Bayesian pruning: truncated log-normal noise on every input unit and filter, learnt."""

    kind: Literal["log-normal"] = field(default="log-normal", init=False)
    log_sigma2: float = -8.0
    """log σ² of every unit, and of every weight with noise, at the start, in [−60, 0]."""
    weight_noise: bool = False
    """Whether weights have noise of their own as well."""

    guide: ClassVar[type[LogNormalDropout]] = LogNormalDropout

    def __post_init__(self) -> None:
        self.log_sigma2 = check_number("log_sigma2", self.log_sigma2, low=-60, high=0)
        self.weight_noise = check_flag("weight_noise", self.weight_noise)

    @property
    def priors(self) -> tuple[type[Any], ...]:
        return (LogUniform,)

    def build(self, model: BayesianNetwork) -> LogNormalDropout:
        return LogNormalDropout(model, self.log_sigma2, self.weight_noise)
