"""Structured Bayesian pruning: truncated log-normal noise on every unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from pyro_vd.distributions.log_normal import LogNormalUnits, TruncatedLogNormal
from pyro_vd.distributions.priors import LogUniform
from pyro_vd.guides.unit_guide import UnitGuide, UnitGuideSettings
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.inputs import Inputs


class LogNormalDropout(UnitGuide):
    """A guide that multiplies each input unit and filter by z ≤ 1, log z ~ N(μ, σ²) on [−20, 0], per example.

    Neklyudov, Molchanov, Ashukha and Vetrov 2017, arXiv 1705.07283. log α is log Var z − log (E z)² = −2 log SNR, so that a
    threshold of 0 removes the units with a signal-to-noise ratio below 1, which the paper removes. The largest log α is about
    2.2, where log z is uniform. The posterior mean, used at test time, is θ E z.

    There is one KL per unit, of a few nats, and no other. On a small table, with a handful of inputs and hidden units, this is
    little beside the data: with β = 1 often no unit at all is removed. Of a table of 400 rows, with 8 inputs of which 2 matter,
    and 30 hidden units, β = 1 removed nothing, and β = 20 all inputs but those 2, and 26 hidden units. Raise β there, or give a
    target, ``KLWeight(target=4)``; or take :class:`~pyro_vd.VariationalDropout`.

    Args:
        model: the Bayesian network, with the default prior ``LogUniform``; θ starts so that θ E z is its weights, and μ at 0.
        log_sigma2: log σ² at the start, in [−60, 0]; about −8 for a trained network. A mapping gives it
            by name or pattern, of which the first that matches a site counts.
        weight_noise: whether weights have their own noise too, that of variational dropout: N(θ, σ²) with its KL
            (Molchanov 2017, arXiv 1701.05369). In the paper they have none: θ is a point estimate, and the KL is that of z
            alone.
        example: a batch that the network takes: units that must be kept or removed together then share one z; see
            :class:`~pyro_vd.guides.unit_guide.UnitGuide`.

    Raises:
        InputError: the model has another prior; ``log_sigma2`` is out of range; ``weight_noise`` is not a bool; the
            example does not fit the network; or weights have half precision.
    """

    initial_z_mu: float = 0.0
    prior = LogUniform
    posterior_type = LogNormalUnits

    def __init__(
        self,
        model: BayesianNetwork,
        log_sigma2: float | Mapping[str, float] = -8.0,
        weight_noise: bool = False,
        example: Inputs | None = None,
    ) -> None:
        super().__init__(model, log_sigma2, weight_noise, example)

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        parameters = super().initial_parameters(name, weight)
        z = TruncatedLogNormal(parameters["z_mu"], parameters["z_log_sigma2"])
        factors = self._layouts[name].over_weight(z.mean.to(weight.dtype), weight.shape)
        return {**parameters, "theta": weight / factors}


@dataclass
class LogNormalDropoutSettings(UnitGuideSettings):
    """Structured Bayesian pruning: learnt, truncated log-normal noise on every input unit and filter."""

    kind: Literal["log-normal"] = field(default="log-normal", init=False)
    weight_noise: bool = False
    """Whether weights have their own noise too."""

    guide: ClassVar[type[LogNormalDropout]] = LogNormalDropout
