"""Posterior of a weight under ordinary dropout, noise with a fixed rate on the inputs of its layer."""

from __future__ import annotations

import math
from typing import Literal

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import register_kl

from pyro_vd._core.arguments import check_choice, check_rate
from pyro_vd.distributions.priors import LogUniform
from pyro_vd.distributions.unit_layout import UnitLayout
from pyro_vd.distributions.unit_posterior import UnitPosterior

UnitNoise = Literal["bernoulli", "gaussian"]
"""Distribution of the noise on units: that of dropout, or a Gaussian with the same mean and variance."""


class UnitDropout(UnitPosterior):
    """Posterior of a layer's weight under ordinary dropout on its inputs, w = θ diag(z) with E z = 1.

    z has one entry per input unit or channel. It is 0 or 1/(1 − p) with probabilities p and 1 − p, or
    z ~ N(1, p/(1 − p)) (Gal and Ghahramani 2016, arXiv 1506.02142, section 3; Kingma 2015, arXiv 1506.02557, section 3.1). The
    log-uniform prior is invariant to the scale of w, so the KL does not depend on θ; this constant is set to 0.

    Args:
        theta: mean θ, one event.
        p: dropout rate in [0, 1).
        noise: distribution of z, "bernoulli" or "gaussian".
        layout: see :class:`~.unit_posterior.UnitPosterior`.

    Raises:
        InputError: an argument is not allowed.
    """

    def __init__(self, theta: Tensor, p: float, noise: UnitNoise = "bernoulli", layout: UnitLayout | None = None) -> None:
        p = check_rate("p", p)
        check_choice("noise", noise, ("bernoulli", "gaussian"))
        self.p: float = p
        self.noise = noise
        super().__init__(theta, layout=layout)

    @property
    def z_mean(self) -> Tensor:
        return self.theta.new_ones(self.layout.count)

    @property
    def z_variance(self) -> Tensor:
        return self.theta.new_full((self.layout.count,), self.p / (1 - self.p))

    def units(self, sample_shape: torch.Size | tuple[int, ...], of: Tensor | None = None) -> Tensor:
        units = (self.layout.count,) if of is None else of.shape
        ones = torch.ones((*sample_shape, *units), dtype=self.theta.dtype, device=self.theta.device)
        if self.noise == "bernoulli":
            return F.dropout(ones, self.p)
        return torch.addcmul(ones, torch.randn_like(ones), ones, value=math.sqrt(self.p / (1 - self.p)))


@register_kl(UnitDropout, dist.Independent)
def _kl_unit_dropout(q: UnitDropout, p: dist.Independent) -> Tensor:
    if not isinstance(p.base_dist, LogUniform):
        raise NotImplementedError
    return q.theta.new_zeros(())
