"""Group variational dropout: a Gaussian factor for every unit, with or without noise on its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pyro_vd._core.arguments import check_flag, check_number
from pyro_vd.distributions.group_normal import GroupNormal
from pyro_vd.distributions.priors import NormalJeffreys
from pyro_vd.guides.settings import GuideSettings
from pyro_vd.guides.unit_guide import UnitGuide
from pyro_vd.models.bayesian import BayesianNetwork


class GroupVariationalDropout(UnitGuide):
    """q(z) = N(μ_z, α_z μ_z²) for every input unit and filter, q(w|z) = N(zθ, z²σ²), under the normal–Jeffreys prior.

    Louizos, Ullrich and Welling 2017, arXiv 1705.08665, section 4.1. A unit whose log α_z = log σ_z² − log μ_z² reaches the
    threshold goes with all its weights: :func:`~pyro_vd.prune` sets them to zero, :func:`~pyro_vd.compact` takes the unit away.

    Args:
        model: its prior is ``NormalJeffreys``; θ starts at its own weights, μ_z at 1.
        log_sigma2: log σ_z² and log σ² at the start, in [−60, 0]; about −8 for a trained network.
        weight_noise: whether weights have noise σ² of their own and the KL of it. Without, θ is a point estimate, and the KL
            is that of z alone.

    Raises:
        InputError: another prior; a transposed or grouped convolution; ``log_sigma2`` out of range; weights of half
            precision.
    """

    initial_z_mu: float = 1.0
    prior = NormalJeffreys
    posterior_type = GroupNormal

    def __init__(self, model: BayesianNetwork, log_sigma2: float = -8.0, weight_noise: bool = True) -> None:
        super().__init__(model, log_sigma2, weight_noise)


@dataclass
class GroupVariationalDropoutSettings(GuideSettings):
    """Group variational dropout: Gaussian noise on every input unit and filter, of a learnt variance."""

    kind: Literal["group"] = field(default="group", init=False)
    log_sigma2: float = -8.0
    """log σ² of every unit, and of every weight with noise, at the start, in [−60, 0]."""
    weight_noise: bool = True
    """Whether weights have noise of their own as well."""

    guide: ClassVar[type[GroupVariationalDropout]] = GroupVariationalDropout

    def __post_init__(self) -> None:
        self.log_sigma2 = check_number("log_sigma2", self.log_sigma2, low=-60, high=0)
        self.weight_noise = check_flag("weight_noise", self.weight_noise)

    @property
    def priors(self) -> tuple[type[Any], ...]:
        return (NormalJeffreys,)

    def build(self, model: BayesianNetwork) -> GroupVariationalDropout:
        return GroupVariationalDropout(model, self.log_sigma2, self.weight_noise)
