"""What the conformance classes share: one seed for every test, and comparisons within standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pyro
import pytest
import torch
from torch import Tensor

ERRORS = 5.0
"""Standard errors that a mean may be off: of a hundred thousand numbers, not one is by chance."""


class Seeded:
    """Every test of the class starts from the same seed and from an empty parameter store of Pyro's."""

    @pytest.fixture(autouse=True)
    def _seed(self) -> Iterator[None]:
        pyro.clear_param_store()
        pyro.set_rng_seed(20170401)
        yield
        pyro.clear_param_store()


def check_mean(draws: Tensor, expected: Tensor) -> None:
    """Independent draws ``(draw, …)`` have this mean, within standard errors and what rounding adds."""
    error = draws.std(0) / math.sqrt(len(draws))
    rounding = 1e-5 * expected.abs() + 1e-6
    assert ((draws.mean(0) - expected).abs() <= ERRORS * error + rounding).all()


def check_alike(first: Tensor, second: Tensor) -> None:
    """Two sets of independent draws ``(draw, numbers)`` have the same means, variances, and covariances of neighbours."""
    first, second = first - second.mean(0), second - second.mean(0)
    for moment in (lambda draws: draws, torch.square, lambda draws: draws * draws.roll(1, -1)):
        a, b = moment(first), moment(second)
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() <= ERRORS * error + 1e-6).all()
