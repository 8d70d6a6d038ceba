"""The priors of the sites of a network, from one function or from functions by pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.patterns import by_pattern

Prior = Callable[[torch.Size], dist.TorchDistribution]
"""A map from a weight's shape to a distribution of that shape."""


def site_priors(prior: Prior | Mapping[str, Prior], shapes: Mapping[str, torch.Size]) -> dict[str, dist.TorchDistribution]:
    """Return the prior of each site as one event.

    Args:
        prior: a function from a weight's shape to its prior, or such functions by pattern.
        shapes: of the weights, by site.

    Raises:
        InputError: ``prior`` holds something else; a pattern matches no site, or no pattern matches a site; or a function does
            not give a distribution of the weight's shape.
    """
    priors = prior if isinstance(prior, Mapping) else {"*": prior}
    if not all(map(callable, priors.values())):
        raise InputError(
            name="prior",
            value=prior,
            allowed="a function from a weight's shape to its prior, such as LogUniform or NormalJeffreys, or a mapping from "
            "patterns of names to such functions",
        )
    by_site = by_pattern("prior", priors, list(shapes), complete=True)
    return {name: _prior_event(by_site[name], shape) for name, shape in shapes.items()}


def _prior_event(prior: Prior, shape: torch.Size) -> dist.TorchDistribution:
    """Return the prior of a weight of this shape as one event.

    Raises:
        InputError: ``prior`` does not give a distribution of this shape.
    """
    distribution = prior(shape)
    if not isinstance(distribution, TorchDistributionMixin):
        raise InputError(
            f"prior (={quoted(prior)}) gives {quoted(distribution)} for a weight; it must give a Pyro distribution",
            name="prior",
            value=prior,
        )
    event = distribution.to_event(len(distribution.batch_shape))
    if event.event_shape != shape:
        raise InputError(
            f"prior (={quoted(prior)}) gives a distribution of the shape {tuple(event.event_shape)} for a weight of the shape "
            f"{tuple(shape)}; the shapes must be the same, such as those of dist.Normal(torch.zeros(shape), 1.0)",
            name="prior",
            value=prior,
        )
    return event
