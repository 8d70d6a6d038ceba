"""Arguments of models and guides: a bad value is refused at construction, and the error quotes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from support import ANYTHING, refuses
from torch import nn

from pyro_vd import BayesianNetwork, VariationalDropout
from pyro_vd.guides import PointEstimate
from pyro_vd.models import MLP

ONES = torch.ones(3, dtype=torch.bool)
BAD: dict[str, tuple[Callable[[], object], tuple[object, ...]]] = {
    "an unknown site": (
        lambda: BayesianNetwork(nn.Linear(2, 2), shared=["nope"]),
        ("shared", ["nope"], "weight"),
    ),
    "no weight": (lambda: BayesianNetwork(nn.ReLU()), ("net", ANYTHING, "ReLU", "Linear, Conv1d")),
    "a positive log σ²": (lambda: VariationalDropout(MLP((2, 2)), log_sigma2=0.1), ("log_sigma2", 0.1, "<= 0")),
    "no number": (lambda: VariationalDropout(MLP((2, 2)), log_sigma2=math.nan), ("log_sigma2", math.nan)),
    "a mask of another shape": (
        lambda: PointEstimate(MLP((2, 2)), {"1.weight": ONES}),
        ("masks", {"1.weight": ((3,), torch.bool)}, "(2, 2)"),
    ),
    "one size": (lambda: MLP((2,)), ("sizes", [2])),
}
"""Calls, each with what its error must be about: the arguments of ``refuses``."""


@pytest.mark.parametrize(("build", "about"), BAD.values(), ids=BAD)
def test_bad_arguments_are_quoted(build: Callable[[], object], about: tuple[object, ...]) -> None:
    with refuses(*about):
        build()


@pytest.mark.parametrize(
    ("options", "mentioned"),
    [
        ({"shared": 3}, ()),
        ({"shared": "0.weight"}, ()),
        ({"num_data": "48"}, ()),
        ({"num_data": 0}, (">= 1",)),
        ({"prior": 3}, ("LogUniform",)),
        ({"prior": lambda shape: 3}, (" 3 ",)),
        ({"prior": lambda shape: dist.Normal(0.0, 1.0)}, ("()", "(3, 8)")),
    ],
)
def test_options_are_checked_at_construction(options: dict[str, Any], mentioned: tuple[str, ...]) -> None:
    ((name, value),) = options.items()
    with refuses(name, value, *mentioned):
        BayesianNetwork(nn.Linear(8, 3), **options)


def test_a_model_is_not_made_of_a_model() -> None:
    with refuses(ANYTHING, ANYTHING, "BayesianNetwork", "prune(guide)"):
        BayesianNetwork(BayesianNetwork(nn.Linear(8, 3)))
