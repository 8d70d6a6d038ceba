"""The common parts of the tests of ArviZ data: a guide of known means and deviations, and the bounds of its draws."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pyro_vd import VariationalDropout
from pyro_vd.models import MLP

EXAMPLES = 300
"""More examples than :func:`~pyro_vd.to_inference_data` processes at a time."""


def known_pair(seed: int = 0) -> tuple[MLP, VariationalDropout]:
    """Return a model of 6, 5 and 3 units, and a guide with means and deviations of many sizes, of which one mean is 0."""
    torch.manual_seed(seed)
    model = MLP((6, 5, 3))
    guide = VariationalDropout(model)
    with torch.no_grad():
        for name in guide.site_names:
            guide.site(name).theta.normal_()
            guide.site(name).log_sigma2.uniform_(-6, 2)
        guide.site("1.weight").theta[0, 0] = 0
    return model, guide


def known_data(seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return inputs and labels for this model; half of the labels are 0."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 6, (EXAMPLES,), generator=generator)
    return torch.randn(EXAMPLES, 6, generator=generator), labels.where(labels < 3, 0)


def check_draws(draws: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> None:
    """Check that draws ``(draw, …)`` are independent, with normal means and variances within their standard errors."""
    count, numbers = len(draws), mean.size
    z = (draws - mean) / sd
    of_mean = z.mean(0) * math.sqrt(count)
    of_variance = (z.var(0) - 1) * math.sqrt(count / 2)
    neighbours = (z[1:] * z[:-1]).mean(0) * math.sqrt(count - 1)
    for deviation in (of_mean, of_variance, neighbours):
        assert np.abs(deviation).max() < 5
        assert abs((deviation**2).mean() - 1) < 5 * math.sqrt(2 / numbers), (
            "deviations must also be as large as standard errors predict"
        )


def monte_carlo_error(log_likelihood: np.ndarray) -> float:
    """Return the standard error of −1/N Σₙ log 1/S Σₛ p, by the delta method, from log likelihoods ``(S, n)``."""
    p = np.exp(log_likelihood.astype(float))
    each = (p / p.mean(0)).mean(1)
    return float(each.std() / math.sqrt(len(p)))
