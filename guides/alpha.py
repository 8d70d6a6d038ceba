"""log α of every weight, as a guide has learnt it."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.distributions.unit_posterior import UnitPosterior
from pyro_vd.distributions.weight_posterior import WeightPosterior
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.weight_guide import WeightGuide


def has_log_alpha(guide: WeightGuide) -> bool:
    """Whether every weight site of a guide has noise with a log α, learnt or fixed; see :func:`log_alpha`."""
    return all(_log_alpha(guide, name) is not None for name in guide.site_names)


def _log_alpha(guide: WeightGuide, name: str) -> Tensor | None:
    q = guide.posterior(name)
    return q.log_alpha if isinstance(q, WeightPosterior | UnitPosterior) else None


@torch.no_grad()
def log_alpha(guide: WeightGuide) -> dict[str, Tensor]:
    """log α = log σ² − log θ² of every weight, by site, in the shape of the weight; +∞ where θ = 0 or the weight is removed.

    Where noise on units is learnt it is that of their factor z, log Var z − log (E z)², for every weight it multiplies.

    Raises:
        InputError: the guide has no noise to speak of, such as a point estimate.
    """
    check_guide(guide)
    result = {}
    for name in guide.site_names:
        if (values := _log_alpha(guide, name)) is None:
            kind = type(guide.posterior(name)).__name__
            raise InputError(f"{type(guide).__name__} has no log α: its site {name!r} is a {kind}")
        mask = guide.mask(name)  # where weights share an α, that of a removed one is any number
        result[name] = values.detach() if mask is None else values.detach().where(mask, torch.inf)
    return result


def weight_log_alpha(guide: WeightGuide) -> dict[str, Tensor]:
    """log Var w − log (E w)² of every weight: :func:`log_alpha`, or where units have noise that and the weight's own together.

    Raises:
        InputError: as that.
    """
    result = log_alpha(guide)
    for name in guide.site_names:
        if isinstance(q := guide.posterior(name), UnitPosterior):
            result[name] = q.weight_log_alpha.detach()
    return result
