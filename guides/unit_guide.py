"""What the guides that remove whole units have in common: a factor z for every input unit of every layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_vd._core.arguments import check_flag, check_number
from pyro_vd._core.errors import InputError
from pyro_vd.distributions.unit_posterior import UnitPosterior, unit_shape
from pyro_vd.evaluation.observations import base_distribution
from pyro_vd.guides.weight_guide import WeightGuide, check_units
from pyro_vd.models.bayesian import BayesianNetwork


class UnitGuide(WeightGuide):
    """A guide whose z has two learnt parameters per unit, ``z_mu`` and ``z_log_sigma2``; weights may have a ``log_sigma2`` too.

    Units are the inputs of a layer, so that z is on the data and on every hidden unit or filter, where the next layer reads it.
    """

    learns_alpha = True
    initial_z_mu: float
    prior: type[Any]
    """The prior that the model's weights must have."""
    posterior_type: type[Any]
    """What is built of θ, ``z_mu``, ``z_log_sigma2``, ``log_sigma2`` or None, and the mask."""

    def __init__(self, model: BayesianNetwork, log_sigma2: float, weight_noise: bool) -> None:
        self._initial_log_sigma2 = check_number("log_sigma2", log_sigma2, low=-60, high=0)
        self.weight_noise: bool = check_flag("weight_noise", weight_noise)
        super().__init__(model)
        check_units(model, self.site_names)
        for name in self.site_names:
            prior = base_distribution(model.prior(name))
            if not isinstance(prior, self.prior):
                wanted = self.prior.__name__
                raise InputError(
                    f"site {name!r} has the prior {type(prior).__name__}; {type(self).__name__} needs {wanted}: "
                    f"BayesianNetwork(net, prior={wanted})"
                )

    def extra_repr(self) -> str:
        return f"weight_noise={self.weight_noise}"

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        z_mu = torch.full(unit_shape(weight), self.initial_z_mu, dtype=weight.dtype, device=weight.device)
        z_log_sigma2 = torch.full_like(z_mu, self._initial_log_sigma2)
        parameters = {**super().initial_parameters(name, weight), "z_mu": z_mu, "z_log_sigma2": z_log_sigma2}
        if self.weight_noise:
            parameters["log_sigma2"] = torch.full_like(weight, self._initial_log_sigma2)
        return parameters

    def posterior(self, name: str) -> UnitPosterior:
        """The posterior of a weight site, of the type :attr:`posterior_type`."""
        site = self.site(name)
        log_sigma2 = site.log_sigma2 if self.weight_noise else None
        q: UnitPosterior = self.posterior_type(site.theta, site.z_mu, site.z_log_sigma2, log_sigma2, self.mask(name))
        return q

    def mean(self, name: str) -> Tensor:
        """E w = θ E z of a site's weight, 0 where it was removed."""
        return self.posterior(name).mean
