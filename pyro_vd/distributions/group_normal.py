"""Posterior of a weight with one Gaussian factor per input unit, and its KL to the normal–Jeffreys prior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import register_kl

from pyro_vd.distributions.kl import kl_approximate, kl_exact
from pyro_vd.distributions.priors import NormalJeffreys
from pyro_vd.distributions.unit_layout import UnitLayout
from pyro_vd.distributions.unit_posterior import UnitPosterior


class GroupNormal(UnitPosterior):
    """Posterior q(w, z) = N(z; μ_z, σ_z²) N(w; zθ, z²σ²), with one z per input unit or channel for all its weights.

    Group variational dropout (Louizos, Ullrich and Welling 2017, arXiv 1705.08665, section 4.1), with w = zv and v ~ N(θ, σ²).
    Units with a high log α = log σ_z² − log μ_z² are pruned, as weights are in variational dropout.

    Args:
        theta: θ, one event.
        z_mu, z_log_sigma2: μ_z and log σ_z², ``(units,)``.
        log_sigma2: log σ², in the shape of θ; None for weights without noise of their own.
        mask: in the shape of θ, False where a weight is permanently removed; None removes no weight.
        layout: see :class:`~.unit_posterior.UnitPosterior`.

    Raises:
        InputError: θ has fewer than two dimensions, and there is no layout.
    """

    def __init__(
        self,
        theta: Tensor,
        z_mu: Tensor,
        z_log_sigma2: Tensor,
        log_sigma2: Tensor | None = None,
        mask: Tensor | None = None,
        layout: UnitLayout | None = None,
    ) -> None:
        self.z_mu: Tensor = z_mu
        self.z_log_sigma2: Tensor = z_log_sigma2
        super().__init__(theta, log_sigma2, mask, layout)

    @property
    def z_mean(self) -> Tensor:
        return self.z_mu

    @property
    def z_variance(self) -> Tensor:
        return self.z_log_sigma2.exp()

    @property
    def unit_log_alpha(self) -> Tensor:
        return self.z_log_sigma2 - 2 * self.z_mu.abs().log()

    def units(self, sample_shape: torch.Size | tuple[int, ...], of: Tensor | None = None) -> Tensor:
        mu, log_sigma2 = (z if of is None else z[of] for z in (self.z_mu, self.z_log_sigma2))
        noise = torch.randn((*sample_shape, *mu.shape), dtype=mu.dtype, device=mu.device)
        return torch.addcmul(mu, (0.5 * log_sigma2).exp(), noise)


@register_kl(GroupNormal, NormalJeffreys)
def _kl_normal_jeffreys(q: GroupNormal, p: NormalJeffreys) -> Tensor:
    """Σ K(α_z) over groups + Σ ½(σ² + θ² − 1 − log σ²) over weights with noise; removed groups and weights add 0."""
    divergence = kl_exact if p.kl == "exact" else kl_approximate
    total = q.units_kl(divergence(q.z_mu, q.z_log_sigma2)) if q.counts_units else q.theta.new_zeros(())
    if q.log_sigma2 is None:
        return total
    weights = q.log_sigma2.exp() + q.theta.square() - 1 - q.log_sigma2
    return total + 0.5 * (weights if q.mask is None else weights * q.mask).sum()
