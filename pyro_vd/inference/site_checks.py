"""Checks that the sample sites of a model and its guide fit together; each error names the site."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd.distributions.priors import WeightPrior
from pyro_vd.distributions.unit_posterior import UnitPosterior
from pyro_vd.distributions.weight_posterior import WeightPosterior
from pyro_vd.evaluation.class_labels import ClassLabels, base_distribution
from pyro_vd.evaluation.structured import heads_of, unweighted

OF_WEIGHTS = (WeightPosterior, UnitPosterior, WeightPrior)
OF_WEIGHT_GUIDE = "of_weight_guide"
"""Key of a site's ``infer``: the site depends on parameters only, not on other sites of the guide."""


def sample_sites(trace: poutine.Trace) -> dict[str, Any]:
    """Return the sample sites of a trace by name, without the index sites of subsampled plates."""
    return {name: site for name, site in trace.nodes.items() if site["type"] == "sample" and not site_is_subsample(site)}


class PairSites:
    """The sample sites of a model and its guide in one step, by name, and properties of the pair, which are computed once."""

    def __init__(self, model: dict[str, Any], guide: dict[str, Any]) -> None:
        self.model = model
        self.guide = guide

    @cached_property
    def has_auxiliary(self) -> bool:
        """Whether the guide has auxiliary sites."""
        return any(map(is_auxiliary, self.guide.values()))

    @cached_property
    def first_random(self) -> str | None:
        """The first guide site whose distribution is neither a weight posterior nor a Delta; None if there is none."""
        drawn = (name for name, site in self.guide.items() if not site["infer"].get("_deterministic"))
        fixed = (dist.Delta, *OF_WEIGHTS)
        return next((name for name in drawn if not isinstance(_base(self.guide[name]["fn"]), fixed)), None)

    @cached_property
    def drawn_too_early(self) -> frozenset[str]:
        """Latent sites whose prior may depend on sites that the guide draws later: a closed-form KL(q‖p) would be biased."""
        rank = {name: place for place, name in enumerate(self.guide)}
        early, latest = set(), -math.inf
        for name, site in self.model.items():
            if not site["is_observed"]:
                if latest > rank[name]:
                    early.add(name)
                latest = max(latest, rank[name])
        return frozenset(early)


def is_auxiliary(site: Any) -> bool:
    """Whether a guide site is auxiliary: ``pyro.factor``, or a site from which other sites are computed."""
    return bool(site["infer"].get("is_auxiliary"))


def to_replay(guide_trace: poutine.Trace) -> poutine.Trace:
    """Return the guide's trace without its observed sites, for the model to replay."""
    trace = guide_trace.copy()
    for name, site in sample_sites(guide_trace).items():
        if site["is_observed"]:
            trace.remove_node(name)
    return trace


def check_sites(sites: PairSites) -> None:
    """Refuse a model and a guide that do not have the same latent sites, apart from auxiliary sites of the guide.

    Raises:
        InputError: naming the sites that only the model or only the guide has, or a site that only the guide observes.
    """
    for name, site in sites.guide.items():
        is_known = name in sites.model and sites.model[name]["is_observed"]
        if site["is_observed"] and not (is_known or is_auxiliary(site) or site["infer"].get("_deterministic")):
            raise InputError(
                f"site {name!r} is observed in the guide, not in the model; a guide must draw its sites, not observe them",
                name=name,
                value=site["value"],
            )
    in_model = {name for name, site in sites.model.items() if not site["is_observed"]}
    in_guide = {name for name, site in sites.guide.items() if not (site["is_observed"] or is_auxiliary(site))}
    if in_model != in_guide:
        raise InputError(
            f"model and guide do not fit: only the model has the latent sites {sorted(in_model - in_guide)}, "
            f"only the guide {sorted(in_guide - in_model)}; both must have the same, except for sites of the guide "
            'with infer={"is_auxiliary": True}',
            name=min(in_model ^ in_guide),
            value={"model": sorted(in_model - in_guide), "guide": sorted(in_guide - in_model)},
        )


def check_observations_once(name: str, site: Any, log_prob: Tensor) -> None:
    """Refuse observations that broadcasting against a distribution of another shape would count more than once.

    Raises:
        InputError: naming the site, with both shapes.
    """
    if site["mask"] is False or site["infer"].get("_deterministic"):
        return
    pairs = list(_shapes(site["fn"], site["value"]))
    wrong = next(((shape, wanted) for shape, wanted in pairs if shape != wanted), None)
    if wrong is None and log_prob.shape != site["fn"].batch_shape:
        wrong = pairs[0]
    if wrong is not None:
        shape, wanted = wrong
        raise InputError(
            f"site {name!r}: observations of shape {shape} do not fit a distribution of shape {wanted}; "
            "the shapes must be the same, because broadcasting would count observations more than once",
            name=name,
            value=shape,
            allowed=f"of shape {wanted}",
        )


def _shapes(p: Any, value: Any) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield the shapes of observations and of weights of examples, each with the one that fits ``p``; of each observed head."""
    for head, of_head in heads_of(p).items():
        if head and head not in value:
            continue
        base, y, weight = unweighted(of_head, value[head] if head else value)
        wanted = tuple(base.batch_shape + base.event_shape)  # torch's own distributions have no ``shape()``
        shape = tuple(y.shape) if isinstance(y, Tensor) else wanted
        labels = base_distribution(base)
        if isinstance(labels, ClassLabels) and isinstance(y, Tensor) and labels.is_soft(y):
            shape = shape[:-1]  # a soft label has one number per class
        yield shape, wanted
        if weight is not None:
            yield tuple(weight.shape), tuple(base.batch_shape)


def check_same_shape(name: str, q: Any, p: Any) -> None:
    """Refuse a guide site whose shapes differ from the model's, as broadcasting would count one of them more than once."""
    if (q.batch_shape, q.event_shape) != (p.batch_shape, p.event_shape):
        given, wanted = (f"{tuple(d.batch_shape)} + {tuple(d.event_shape)}" for d in (q, p))
        raise InputError(
            f"site {name!r}: the guide's shape {given} must be the model's, {wanted}: batch shape, with one dimension per "
            "plate, plus event shape",
            name=name,
            value=(tuple(q.batch_shape), tuple(q.event_shape)),
            allowed=wanted,
        )


def check_scaled_alike(name: str, guide_site: Any, model_site: Any, strictly: bool) -> None:
    """Refuse a scale or mask of a guide site that is not the model's; none is allowed too, unless ``strictly``.

    Raises:
        InputError: naming the site, with the guide's and the model's scale or mask.
    """
    for what, none in (("scale", 1.0), ("mask", None)):
        given, wanted = guide_site[what], model_site[what]
        if not (_is_same(given, wanted) or (_is_same(given, none) and not strictly)):
            raise InputError(
                f"site {name!r}: the guide's {what} {_of(given)} is not the model's {_of(wanted)}, which applies to the whole "
                f"KL(q‖p); give the guide {'the same' if strictly else 'the same or none'}",
                name=name,
                value=given,
                allowed=f"{_of(wanted)}{'' if strictly else ' or none'}",
            )


def check_reparameterized(name: str, q: Any) -> None:
    """Refuse a distribution whose draws have no gradient."""
    if not q.has_rsample:
        raise InputError(
            f"site {name!r}: the guide's {type(base_distribution(q)).__name__} cannot be reparameterized, so its gradient "
            "would be biased; use a distribution with rsample",
            name=name,
            value=type(base_distribution(q)).__name__,
            allowed="a distribution with rsample",
        )


def check_point(name: str, sites: PairSites) -> None:
    """Refuse a Delta for a weight if it may be computed from other draws; only that of a fixed point has a KL(q‖p) of 0."""
    if not sites.guide[name]["infer"].get(OF_WEIGHT_GUIDE) and sites.first_random is not None:
        raise InputError(
            f"weight site {name!r}: the guide's Delta may depend on its draw at {sites.first_random!r}, and no "
            "KL(q‖p) of such a weight is known; use a guide of this library for the weights, and an autoguide for the other "
            "sites: AutoNormal(poutine.block(model, hide=network.weight_names))",
            name=name,
        )


def _is_same(one: Any, other: Any) -> bool:
    if one is other or one is None or other is None:
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return torch.equal(torch.as_tensor(one).double().cpu(), torch.as_tensor(other).double().cpu())


def _base(fn: Any) -> Any:
    while isinstance(fn, dist.MaskedDistribution):
        fn = fn.base_dist
    return base_distribution(fn)


def _of(weight: Any) -> str:
    return f"of shape {tuple(weight.shape)}" if isinstance(weight, Tensor) and weight.ndim else f"(={quoted(weight)})"
