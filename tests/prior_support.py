"""A proper prior whose posterior is known in closed form, as a user would bring it: the distribution, and its KL registered."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import kl_divergence, register_kl

from pyro_vd.distributions import MultiplicativeNormal


class GaussianPrior(dist.Normal):
    """N(loc, scale²) of each weight."""


@register_kl(MultiplicativeNormal, GaussianPrior)
def _kl(q: MultiplicativeNormal, p: GaussianPrior) -> Tensor:
    return kl_divergence(dist.Normal(q.mean, q.variance.sqrt()), dist.Normal(p.loc, p.scale))
