"""Group variational dropout: a Gaussian factor for every unit, with or without noise on its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pyro_vd.distributions.group_normal import GroupNormal
from pyro_vd.distributions.priors import NormalJeffreys
from pyro_vd.guides.unit_guide import UnitGuide, UnitGuideSettings
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.inputs import Inputs


class GroupVariationalDropout(UnitGuide):
    """q(z) = N(μ_z, α_z μ_z²) for every input unit and filter, and q(w|z) = N(zθ, z²σ²), under the normal–Jeffreys prior.

    Louizos, Ullrich and Welling 2017, arXiv 1705.08665, section 4.1. Where log α_z = log σ_z² − log μ_z² of a unit reaches the
    threshold, all weights of the unit are removed: :func:`~pyro_vd.prune` sets them to zero, and :func:`~pyro_vd.compact`
    removes the unit.

    Args:
        model: the Bayesian network, with the prior ``NormalJeffreys``; θ starts at its weights, and μ_z at 1.
        log_sigma2: log σ_z² and log σ² at the start, in [−60, 0]; about −8 for a trained network. A mapping gives it
            by name or pattern, of which the first that matches a site counts.
        weight_noise: whether weights have their own noise of variance σ², with its KL. Without it, θ is a point estimate, and
            the KL is that of z alone.
        example: a batch that the network takes: units that must be kept or removed together then share one z; see
            :class:`~pyro_vd.guides.unit_guide.UnitGuide`.

    Raises:
        InputError: the model has another prior; ``log_sigma2`` is out of range; ``weight_noise`` is not a bool; the
            example does not fit the network; or weights have half precision.

    Examples:
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork, GroupVariationalDropout
        >>> from pyro_vd.distributions import NormalJeffreys
        >>> model = BayesianNetwork(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), prior=NormalJeffreys)
        >>> guide = GroupVariationalDropout(model)  # a noisy factor for each input of each layer
        >>> [tuple(guide.site(name).z_log_sigma2.shape) for name in guide.site_names]
        [(4,), (8,)]
    """

    initial_z_mu: float = 1.0
    prior = NormalJeffreys
    posterior_type = GroupNormal

    def __init__(
        self,
        model: BayesianNetwork,
        log_sigma2: float | Mapping[str, float] = -8.0,
        weight_noise: bool = True,
        example: Inputs | None = None,
    ) -> None:
        super().__init__(model, log_sigma2, weight_noise, example)


@dataclass
class GroupVariationalDropoutSettings(UnitGuideSettings):
    """Group variational dropout: Gaussian noise of a learnt variance on every input unit and filter."""

    kind: Literal["group"] = field(default="group", init=False)
    weight_noise: bool = True
    """Whether weights have their own noise too."""

    guide: ClassVar[type[GroupVariationalDropout]] = GroupVariationalDropout
