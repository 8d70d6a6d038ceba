"""The base class of the guides that remove whole units: a factor z for every input unit of every layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from pyro_vd._core.arguments import check_flag
from pyro_vd._core.errors import InputError
from pyro_vd.distributions.unit_posterior import UnitPosterior
from pyro_vd.evaluation.observations import base_distribution
from pyro_vd.guides.checks import check_log_sigma2
from pyro_vd.guides.settings import GuideSettings
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork


class UnitGuide(WeightGuide):
    """A guide with a factor z per unit, whose parameters ``z_mu`` and ``z_log_sigma2`` are learnt.

    Units are the inputs of a layer: z multiplies the data, and every hidden unit or filter where the next layer reads it.

    Args:
        model: the Bayesian network, whose weights have the prior :attr:`prior`; θ starts at its weights.
        log_sigma2: ``z_log_sigma2``, and ``log_sigma2`` of the weights, at the start, in [−60, 0].
        weight_noise: whether weights have their own noise too, of a variance with the parameter ``log_sigma2``.

    Raises:
        InputError: ``log_sigma2`` is out of range; ``weight_noise`` is not a bool; the model has another prior; or
            weights have half precision.
    """

    learns_alpha = True
    initial_z_mu: float
    """The value of ``z_mu`` at the start."""
    prior: type[Any]
    """The prior that the model's weights must have."""
    posterior_type: type[Any]
    """The class of the posterior, built from θ, ``z_mu``, ``z_log_sigma2``, ``log_sigma2`` or None, the mask and the layout."""

    def __init__(self, model: BayesianNetwork, log_sigma2: float, weight_noise: bool) -> None:
        self._initial_log_sigma2 = check_log_sigma2(log_sigma2)
        self.weight_noise: bool = check_flag("weight_noise", weight_noise)
        super().__init__(model)
        for name in self.site_names:
            prior = base_distribution(model.prior(name))
            if not isinstance(prior, self.prior):
                wanted = self.prior.__name__
                raise InputError(
                    f"site {name!r} has the prior {type(prior).__name__}; with {type(self).__name__} it must be {wanted}: "
                    f"BayesianNetwork(net, prior={wanted})",
                    name="prior",
                    value=type(prior),
                    allowed=wanted,
                )

    def extra_repr(self) -> str:
        return f"weight_noise={self.weight_noise}"

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        z_mu = torch.full((self._layouts[name].count,), self.initial_z_mu, dtype=weight.dtype, device=weight.device)
        z_log_sigma2 = torch.full_like(z_mu, self._initial_log_sigma2)
        parameters = {**super().initial_parameters(name, weight), "z_mu": z_mu, "z_log_sigma2": z_log_sigma2}
        if self.weight_noise:
            parameters["log_sigma2"] = torch.full_like(weight, self._initial_log_sigma2)
        return parameters

    def posterior(self, name: str) -> UnitPosterior:
        """Return the posterior of a weight site, of the class :attr:`posterior_type`."""
        site = self.site(name)
        log_sigma2 = site.log_sigma2 if self.weight_noise else None
        z = site.z_mu, site.z_log_sigma2
        q: UnitPosterior = self.posterior_type(site.theta, *z, log_sigma2, self.mask(name), self.unit_layout(name))
        return q

    def mean(self, name: str) -> Tensor:
        """Return E w = θ E z of a site's weight, 0 where the weight is removed."""
        return self.posterior(name).mean


@dataclass
class UnitGuideSettings(GuideSettings):
    """The settings that the guides with a factor per unit have in common."""

    kind: str = field(default="", init=False)
    log_sigma2: float = -8.0
    """The initial log σ² of every unit, and of every weight with noise, in [−60, 0]."""
    weight_noise: bool = False
    """Whether weights have their own noise too."""

    guide: ClassVar[type[Any]]

    def __post_init__(self) -> None:
        self.log_sigma2 = check_log_sigma2(self.log_sigma2)
        self.weight_noise = check_flag("weight_noise", self.weight_noise)

    @property
    def priors(self) -> tuple[type[Any], ...]:
        return (self.guide.prior,)

    def build(self, model: BayesianNetwork) -> UnitGuide:
        guide: UnitGuide = self.guide(model, self.log_sigma2, self.weight_noise)
        return guide
