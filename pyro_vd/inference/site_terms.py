"""What each sample site of a model and its guide adds to the ELBO."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.observations import base_distribution
from pyro_vd.inference.site_checks import (
    OF_WEIGHTS,
    PairSites,
    check_observations_once,
    check_point,
    check_reparameterized,
    check_same_shape,
    check_scaled_alike,
    is_auxiliary,
)


def log_likelihood(name: str, site: Any) -> Tensor:
    """log p of an observed site, a scalar, scaled and masked.

    Raises:
        InputError: observations, a scale or a mask would count more than once.
    """
    log_prob = site["fn"].log_prob(site["value"])
    check_observations_once(name, site, log_prob)
    return _weighted(name, site, log_prob, site["fn"].batch_shape)


def auxiliary_terms(sites: PairSites) -> dict[str, Tensor]:
    """log q of the sites that the guide has for itself, scalars, scaled and masked as there.

    Raises:
        InputError: one that cannot be reparameterized; a scale or a mask would count more than once.
    """
    terms = {}
    for name, site in sites.guide.items():
        if is_auxiliary(site):
            check_reparameterized(name, site["fn"])
            terms[name] = _weighted(name, site, site["fn"].log_prob(site["value"]), site["fn"].batch_shape)
    return terms


def site_kl(name: str, sites: PairSites) -> Tensor:
    """KL(q‖p) of a latent site, a scalar, scaled and masked as in the model.

    Of a weight site the one registered with torch, or an error; of any other the registered one where that is right in mean,
    and otherwise log q − log p of the draw.

    Raises:
        InputError: there is no right answer.
    """
    model_site, guide_site = sites.model[name], sites.guide[name]
    q, p = _unmasked(guide_site), _unmasked(model_site)
    check_same_shape(name, q, p)
    base: Any = base_distribution(q)
    prior = base_distribution(p)
    of_weights = isinstance(base, OF_WEIGHTS) or isinstance(prior, OF_WEIGHTS)
    is_point = isinstance(base, dist.Delta)
    is_computed = is_point and not of_weights and sites.has_auxiliary
    check_scaled_alike(name, guide_site, model_site, strictly=is_computed)
    if not of_weights:
        check_reparameterized(name, q)
    elif is_point:
        check_point(name, sites)
        q = dist.Delta(base.v).to_event(p.event_dim)  # as the priors' KLs know it
    divergence = None
    if of_weights or not (is_point or name in sites.drawn_too_early):
        try:
            divergence = torch.as_tensor(kl_divergence(q, p))
        except NotImplementedError as error:
            if of_weights:
                raise InputError(
                    f"weight site {name!r}: no KL(q‖p) is registered for q = {type(base).__name__} and "
                    f"p = {type(prior).__name__}, and it is never estimated by Monte Carlo. "
                    "Register one with torch.distributions.register_kl."
                ) from error
    if divergence is None:
        value = guide_site["value"]
        divergence = q.log_prob(value) - p.log_prob(value)
    return _weighted(name, model_site, divergence, p.batch_shape)


def _unmasked(site: Any) -> Any:
    """The site's distribution; what ``.mask()`` put round it joins the mask of the site."""
    fn = site["fn"]
    while isinstance(fn, dist.MaskedDistribution):
        site["mask"] = fn._mask if site["mask"] is None else site["mask"] & fn._mask
        fn = site["fn"] = fn.base_dist
    if site["mask"] is True:
        site["mask"] = None
    return fn


def _weighted(name: str, site: Any, term: Tensor, batch_shape: torch.Size) -> Tensor:
    """The sum of a term of this batch shape under the site's scale and mask."""
    if term.shape != batch_shape:
        raise InputError(
            f"site {name!r}: log p or KL(q‖p) of shape {tuple(term.shape)}; it must be the site's batch shape, "
            f"{tuple(batch_shape)}"
        )
    weights = {what: _of_batch(name, what, site[what], batch_shape) for what in ("scale", "mask")}
    return scale_and_mask(term, **weights).sum()


def _of_batch(name: str, what: str, weight: Any, batch_shape: torch.Size) -> Any:
    """A scale or mask that counts nothing more than once."""
    if not isinstance(weight, Tensor):
        return weight if what == "scale" or weight is None else bool(weight)
    if weight.numel() == 1:
        return weight.reshape(())
    try:
        fits = torch.broadcast_shapes(weight.shape, batch_shape) == batch_shape
    except RuntimeError:
        fits = False
    if not fits:
        raise InputError(
            f"site {name!r}: a {what} of shape {tuple(weight.shape)} does not fit the site's batch shape {tuple(batch_shape)} "
            f"and would count it more than once; it must be a number, or broadcast to that shape. Put a {what} of examples "
            "inside the model, round the observed site alone; weigh a batch against all the data with num_data"
        )
    return weight
