"""Posteriors with noise on units: their moments are those of their draws, whatever the noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyro_vd.distributions import GroupNormal, LogNormalUnits, UnitDropout
from pyro_vd.distributions.unit_posterior import UnitPosterior

Maker = Callable[[Tensor, Tensor, Tensor, Tensor], UnitPosterior]
KINDS: dict[str, Maker] = {
    "group": lambda theta, mu, units, weights: GroupNormal(theta, mu, units, weights),
    "group alone": lambda theta, mu, units, weights: GroupNormal(theta, mu, units),
    "log-normal": lambda theta, mu, units, weights: LogNormalUnits(theta, mu - 2, units),
    "log-normal, weights too": lambda theta, mu, units, weights: LogNormalUnits(theta, mu - 2, units, weights),
    "bernoulli": lambda theta, mu, units, weights: UnitDropout(theta, 0.3),
    "gaussian": lambda theta, mu, units, weights: UnitDropout(theta, 0.3, "gaussian"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_moments_and_log_alpha_are_those_of_the_draws(kind: str) -> None:
    theta, log_sigma2 = torch.randn(3, 4, 2).double(), torch.randn(3, 4, 2).double() - 1
    q = KINDS[kind](theta, torch.randn(4, 1).double(), torch.linspace(-6, 3, 4).double()[:, None], log_sigma2)
    n = 100_000
    draws = q.rsample((n,))
    assert draws.shape == (n, 3, 4, 2)
    assert ((draws.mean(0) - q.mean).abs() < 4.5 * draws.std(0) / math.sqrt(n)).all()
    squares = (draws - q.mean).square()
    assert ((squares.mean(0) - q.variance).abs() < 4.5 * squares.std(0) / math.sqrt(n)).all()
    torch.testing.assert_close(q.weight_log_alpha, (q.variance / q.mean.square()).log())
    if (factors := q.log_alpha) is not None:
        assert torch.equal(factors, factors[:1, :, :1].expand(3, 4, 2)), "of a unit"
        assert (q.weight_log_alpha > factors - 1e-6).all(), "a weight is worth no more than its unit"
    if q.log_sigma2 is None and factors is not None:
        torch.testing.assert_close(q.weight_log_alpha, factors, msg="without noise of its own it is worth as much")
