"""The log α of every weight, learnt or fixed in a guide."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.distributions.unit_posterior import UnitPosterior
from pyro_vd.distributions.weight_posterior import WeightPosterior
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.weight_guide import WeightGuide


def has_log_alpha(guide: WeightGuide) -> bool:
    """Return whether every weight site of a guide has noise with a log α, learnt or fixed; see :func:`log_alpha`."""
    posteriors = (guide.posterior(name) for name in guide.site_names)
    return all(isinstance(q, WeightPosterior) or (isinstance(q, UnitPosterior) and q.log_alpha is not None) for q in posteriors)


def log_alpha(guide: WeightGuide) -> dict[str, Tensor]:
    """Return log α = log σ² − log θ² of every weight, by site, in the shape of the weight.

    It is +∞ where θ = 0 and where the weight is removed. Where the guide learns noise on units, the log α of a weight is that
    of the factor z that multiplies it: log Var z − log (E z)².

    Args:
        guide: a guide over weights.

    Raises:
        InputError: ``guide`` is not a guide, or its posterior of a site has no log α, such as that of a point estimate.

    Examples:
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork, VariationalDropout, log_alpha
        >>> values = log_alpha(VariationalDropout(BayesianNetwork(nn.Linear(4, 3))))
        >>> {name: tuple(each.shape) for name, each in values.items()}
        {'weight': (3, 4)}
    """
    check_guide(guide)
    return {name: site_log_alpha(guide, name) for name in guide.site_names}


@torch.no_grad()
def site_log_alpha(guide: WeightGuide, name: str) -> Tensor:
    """Return log α of the weights of one site, see :func:`log_alpha`; functions that go site by site need no more memory.

    Raises:
        InputError: the posterior of the site has no log α.
    """
    q = guide.posterior(name)
    values = q.log_alpha if isinstance(q, WeightPosterior | UnitPosterior) else None
    if values is None:
        raise InputError(
            f"guide is a {type(guide).__name__}, whose posterior of the site {name!r}, a {type(q).__name__}, has no log α; it "
            "must be a guide with noise that has a log α, such as VariationalDropout",
            name="guide",
            value=guide,
        )
    mask = guide.mask(name)  # where weights share an α, the α of a removed weight is meaningless
    return values.detach() if mask is None else values.detach().where(mask, torch.inf)


@torch.no_grad()
def weight_log_alpha(guide: WeightGuide, name: str) -> Tensor:
    """Return log Var w − log (E w)² of the weights of one site, in the shape of the weight.

    It differs from :func:`site_log_alpha` where units have noise: the variance is then that of the unit's and the weight's.

    Raises:
        InputError: see :func:`site_log_alpha`.
    """
    q = guide.posterior(name)
    return q.weight_log_alpha.detach() if isinstance(q, UnitPosterior) else site_log_alpha(guide, name)
