"""The base class of the guides that remove whole units: a factor z for every input unit of every layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from pyro_vd._core.arguments import check_flag
from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd.distributions.unit_draws import SharedUnits, UnitDraws
from pyro_vd.distributions.unit_posterior import UnitPosterior
from pyro_vd.evaluation.class_labels import base_distribution
from pyro_vd.guides.checks import check_log_sigma2, initial_log_sigma2
from pyro_vd.guides.settings import GuideSettings
from pyro_vd.guides.unit_sharing import shared_numbers
from pyro_vd.guides.unit_state import UnitState
from pyro_vd.inference.joint_draws import evaluation_mode
from pyro_vd.inference.reparam import LocalReparameterization
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.inputs import Inputs, to_device


class UnitGuide(UnitState):
    """A guide with a factor z per unit, whose parameters ``z_mu`` and ``z_log_sigma2`` are learnt.

    Units are the inputs of a layer: z multiplies the data, and every hidden unit or filter where the next layer reads it.

    Args:
        model: the Bayesian network, whose weights have the prior :attr:`prior`; θ starts at its weights.
        log_sigma2: ``z_log_sigma2``, and ``log_sigma2`` of the weights, at the start, in [−60, 0]: a number, or
            numbers by name or pattern, of which the first that matches a site counts.
        weight_noise: whether weights have their own noise too, of a variance with the parameter ``log_sigma2``.
        example: a batch that the network takes, from which :func:`~pyro_vd.compaction.unit_groups` finds the units that must be
            kept or removed together: in residual sums, in depthwise convolutions and the layer before, in concatenations, in
            all layers that read them, heads of attention, the positions of a filter after a flattening. They then have one z,
            whose KL is counted once, and of which all layers have the same draw for an example. None for a z of its own per
            input unit of every layer.

    Raises:
        InputError: ``log_sigma2`` is out of range; ``weight_noise`` is not a bool; the model has another prior; the
            example does not fit the network; or weights have half precision.
    """

    learns_alpha = True
    initial_z_mu: float
    """The value of ``z_mu`` at the start."""
    prior: type[Any]
    """The prior that the model's weights must have."""
    posterior_type: type[Any]
    """The class of the posterior, built from θ, ``z_mu``, ``z_log_sigma2``, ``log_sigma2`` or None, the mask and the layout."""

    def __init__(
        self,
        model: BayesianNetwork,
        log_sigma2: float | Mapping[str, float],
        weight_noise: bool,
        example: Inputs | None = None,
    ) -> None:
        self._initial_log_sigma2 = initial_log_sigma2(log_sigma2, model)
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
        self._drawn_whole: set[str] = set()
        numbers = None if example is None else shared_numbers(model, self._layouts, example)
        if example is not None and numbers is not None:
            self._share(numbers)
            self._try_out(example)

    def extra_repr(self) -> str:
        return f"weight_noise={self.weight_noise}"

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        units = self.initial_units(name, self._layouts[name].count, weight)
        parameters = {**super().initial_parameters(name, weight), **units}
        if self.weight_noise:
            parameters["log_sigma2"] = torch.full_like(weight, self._initial_log_sigma2[name])
        return parameters

    def initial_units(self, name: str, count: int, weight: Tensor) -> dict[str, Tensor]:
        z_mu = torch.full((count,), self.initial_z_mu, dtype=weight.dtype, device=weight.device)
        return {"z_mu": z_mu, "z_log_sigma2": torch.full_like(z_mu, self._initial_log_sigma2[name])}

    def _try_out(self, example: Inputs) -> None:
        """Find out which shared factors must be drawn once per pass, in a pass that changes nothing."""
        device = next(self.parameters()).device
        with evaluation_mode(self), torch.no_grad(), generators_kept(device), LocalReparameterization():
            self.model.apart().output(self(), to_device(example, device))

    def posterior(self, name: str) -> UnitPosterior:
        """Return the posterior of a weight site, of the class :attr:`posterior_type`."""
        site, first = self.site(name), self.site(self._sharing.first[name])
        log_sigma2 = site.log_sigma2 if self.weight_noise else None
        z = first.z_mu, first.z_log_sigma2
        q: UnitPosterior = self.posterior_type(site.theta, *z, log_sigma2, self.mask(name), self.unit_layout(name))
        if len(family := self._sharing.family(name)) > 1:
            q.shared = SharedUnits(site is first, partial(self._left, family))
        return q

    def _left(self, family: Sequence[str]) -> Tensor | None:
        """Return True for the factors that have weights left in any site of a family; None if nothing was removed."""
        masks = {name: self.mask(name) for name in family}
        if all(mask is None for mask in masks.values()):
            return None
        left = torch.zeros(self.unit_layout(family[0]).count, dtype=torch.bool, device=self.site(family[0]).theta.device)
        for name, mask in masks.items():
            layout = self.unit_layout(name)
            if mask is not None:
                left |= layout.has_weights(mask)
            else:
                left |= True if layout.is_read is None else layout.is_read
        return left

    def posteriors_of_pass(self) -> Iterator[tuple[str, UnitPosterior]]:
        draws: dict[str, UnitDraws] = {}
        for name in self.site_names:
            q, first = self.posterior(name), self._sharing.first[name]
            if q.shared is not None:
                q.shared.draws = draws.setdefault(first, UnitDraws(q.units, first, self._drawn_whole))
            yield name, q

    def mean(self, name: str) -> Tensor:
        """Return E w = θ E z of a site's weight, 0 where the weight is removed."""
        return self.posterior(name).mean


@dataclass
class UnitGuideSettings(GuideSettings):
    """The settings that the guides with a factor per unit have in common."""

    kind: str = field(default="", init=False)
    log_sigma2: float | dict[str, float] = -8.0
    """The initial log σ² of every unit, and of every weight with noise, in [−60, 0]; or a mapping from sites or patterns."""
    weight_noise: bool = False
    """Whether weights have their own noise too."""
    shared: bool = False
    """Whether units that must be kept or removed together, in whatever layer, have one factor in common."""

    guide: ClassVar[type[Any]]

    def __post_init__(self) -> None:
        self.log_sigma2 = check_log_sigma2(self.log_sigma2)
        self.weight_noise = check_flag("weight_noise", self.weight_noise)
        self.shared = check_flag("shared", self.shared)

    @property
    def priors(self) -> tuple[type[Any], ...]:
        return (self.guide.prior,)

    def build(self, model: BayesianNetwork) -> UnitGuide:
        guide: UnitGuide = self.guide(model, self.log_sigma2, self.weight_noise)
        return guide

    def build_for(self, model: BayesianNetwork, example: Inputs) -> UnitGuide:
        guide: UnitGuide = self.guide(model, self.log_sigma2, self.weight_noise, example if self.shared else None)
        return guide
