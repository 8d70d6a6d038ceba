"""The term of the ELBO of each sample site of a model and its guide."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.class_labels import base_distribution
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
    """Return log p of an observed site in nats, a scalar, scaled and masked.

    Raises:
        InputError: broadcasting would count observations, a scale or a mask more than once.
    """
    log_prob = site["fn"].log_prob(site["value"])
    check_observations_once(name, site, log_prob)
    return _weighted(name, site, log_prob, site["fn"].batch_shape)


def auxiliary_terms(sites: PairSites) -> dict[str, Tensor]:
    """Return log q in nats of the guide's auxiliary sites by name, scalars, scaled and masked as in the guide.

    Raises:
        InputError: a site cannot be reparameterized; or broadcasting would count a scale or a mask more than once.
    """
    terms = {}
    for name, site in sites.guide.items():
        if is_auxiliary(site):
            check_reparameterized(name, site["fn"])
            terms[name] = _weighted(name, site, site["fn"].log_prob(site["value"]), site["fn"].batch_shape)
    return terms


def site_kl(name: str, sites: PairSites) -> Tensor:
    """Return KL(q‖p) of a latent site in nats, a scalar, scaled and masked as in the model.

    For a weight site it is the function registered with torch. For any other site it is the registered function if that is
    unbiased, and otherwise log q − log p of the draw.

    Raises:
        InputError: no KL is registered for a weight site, or the guide's site does not fit the model's; see
            :mod:`pyro_vd.inference.site_checks`.
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
        q = dist.Delta(base.v).to_event(p.event_dim)  # the form for which the priors' KLs are registered
    divergence = None
    if of_weights or not (is_point or name in sites.drawn_too_early):
        try:
            divergence = torch.as_tensor(kl_divergence(q, p))
        except NotImplementedError as error:
            if of_weights:
                raise InputError(
                    f"weight site {name!r}: no KL(q‖p) is registered for q = {type(base).__name__} and "
                    f"p = {type(prior).__name__}, and it is never estimated by Monte Carlo. "
                    "Register one with torch.distributions.register_kl.",
                    name=name,
                    value=(type(base).__name__, type(prior).__name__),
                    allowed="a pair of distributions with a registered KL",
                ) from error
    if divergence is None:
        value = guide_site["value"]
        divergence = q.log_prob(value) - p.log_prob(value)
    return _weighted(name, model_site, divergence, p.batch_shape)


def _unmasked(site: Any) -> Any:
    """Return the site's distribution without ``.mask()`` around it, whose mask is combined with the mask of the site."""
    fn = site["fn"]
    while isinstance(fn, dist.MaskedDistribution):
        site["mask"] = fn._mask if site["mask"] is None else site["mask"] & fn._mask
        fn = site["fn"] = fn.base_dist
    if site["mask"] is True:
        site["mask"] = None
    return fn


def _weighted(name: str, site: Any, term: Tensor, batch_shape: torch.Size) -> Tensor:
    """Return the sum of a term of this batch shape, scaled and masked as the site."""
    if term.shape != batch_shape:
        raise InputError(
            f"site {name!r}: log p or KL(q‖p) of shape {tuple(term.shape)}; it must be the site's batch shape, "
            f"{tuple(batch_shape)}",
            name=name,
            value=tuple(term.shape),
            allowed=f"of shape {tuple(batch_shape)}",
        )
    weights = {what: _of_batch(name, what, site[what], batch_shape) for what in ("scale", "mask")}
    return scale_and_mask(term, **weights).sum()


def _of_batch(name: str, what: str, weight: Any, batch_shape: torch.Size) -> Any:
    """Return a scale or mask that fits the batch shape, so that no term is counted more than once."""
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
            f"and would count it more than once; it must be a number, or broadcast to that shape. Apply a {what} of examples "
            "inside the model, to the observed site only; scale a batch to the whole data set with num_data",
            name=name,
            value=tuple(weight.shape),
            allowed=f"a number, or of a shape that broadcasts to {tuple(batch_shape)}",
        )
    return weight
