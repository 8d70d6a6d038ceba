"""Observations that the likelihood gives no probability are quoted with what it allows, whatever the distribution."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
import torch.distributions as td
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, evaluate, fit
from pyro_vd.evaluation.observations import check_observations
from pyro_vd.guides import PointEstimate


class Observes(nn.Module):
    """A likelihood of one number an example, made from the output's exponential or from the output."""

    def __init__(self, make: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, output: Tensor) -> Any:
        return self.make(output[:, 0], output[:, 0].exp())


class Bounded(dist.Normal):
    """A distribution of one's own, with bounds that are numbers."""

    support = td.constraints.interval(0, 2)


CASES: dict[str, tuple[Callable[[Tensor, Tensor], Any], Any, Any, Any, list[int]]] = {
    "Gamma": (lambda f, e: dist.Gamma(e + 1, 1.0), [0.5, 2], [0.5, -2], -2, [0]),
    "Gamma at 0": (lambda f, e: dist.Gamma(e + 1, 1.0), [0.5, 2], [0.5, 0], 0, [0, 0]),
    "Beta": (lambda f, e: dist.Beta(e, 1.0), [0.5, 0.2], [0.5, 1.5], 1.5, [0, 1]),
    "Beta at 1": (lambda f, e: dist.Beta(2.0, e + 1), [0.5, 0.2], [0.5, 1.0], 1, [0, 1, 0]),
    "LogNormal": (lambda f, e: dist.LogNormal(f, 1.0), [0.5, 2], [2, 0], 0, [0]),
    "Exponential": (lambda f, e: dist.Exponential(e), [0.5, 2], [0.5, -1], -1, [0]),
    "HalfNormal": (lambda f, e: dist.HalfNormal(e), [0.5, 2], [0.5, -1], -1, [0]),
    "StudentT": (lambda f, e: dist.StudentT(3.0, f), [0.5, -2], [[0.5, 1.0], [1.0, 1.0]], (2, 2), []),
    "Poisson": (lambda f, e: dist.Poisson(e), [0, 3], [0, 1.5], 1.5, [0]),
    "Binomial": (lambda f, e: dist.Binomial(10, logits=f), [0, 10], [0, 11], 11, [0, 10]),
    "NegativeBinomial": (lambda f, e: dist.NegativeBinomial(e, logits=f), [0, 9], [0, -1], -1, [0]),
    "one's own": (lambda f, e: Bounded(f, 1.0, validate_args=False), [0, 1], [0, 3], 3, [0, 2]),
    "ZeroInflatedPoisson": (
        lambda f, e: dist.ZeroInflatedPoisson(e, gate=0.1 * torch.ones_like(e)), [0, 3], [0, -3], -3, [0],
    ),
    "torch's own": (lambda f, e: td.Weibull(e, 1.0), [0.5, 2], [0.5, -2], -2, [0]),
    "OrderedLogistic": (
        lambda f, e: dist.OrderedLogistic(f, torch.tensor([-1.0, 1.0])), torch.tensor([0, 2]), torch.tensor([0, 3]),
        3, [0, 2],
    ),
    "Bernoulli": (lambda f, e: dist.Bernoulli(logits=f), [0, 1], [0, 0.5], 0.5, [0, 1]),
    "several": (
        lambda f, e: dist.Poisson(torch.stack([e, e], -1)).to_event(1), [[0.0, 1], [2, 3]], [[0.0, 1], [2, -3]],
        -3, [0],
    ),
    "Dirichlet": (
        lambda f, e: dist.Dirichlet(torch.stack([e, e], -1)), [[0.5, 0.5], [0.1, 0.9]], [[0.5, 0.5], [0.5, 0.9]],
        (0.5, torch.tensor(0.9).item()), [0, 1],
    ),
    "OneHotCategorical": (
        lambda f, e: dist.OneHotCategorical(logits=torch.stack([f, e], -1)), [[1.0, 0], [0, 1]], [[1.0, 0], [1, 1]],
        (1, 1), [1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_value_and_support_are_quoted(case: str) -> None:
    make, good, bad, value, limits = CASES[case]
    mentioned = [] if isinstance(bad, Tensor) else [case.split()[0]] if hasattr(dist, case.split()[0]) else ["example 1"]
    net, likelihood = nn.Linear(3, 1), Observes(make)
    model, x = BayesianNetwork(net, likelihood), torch.randn(2, 3)
    fit(PointEstimate(model), (x, torch.as_tensor(good)), epochs=1, progress=False)
    for use in (
        lambda: fit(PointEstimate(model), (x, torch.as_tensor(bad)), epochs=1, progress=False),
        lambda: evaluate(net, (x, torch.as_tensor(bad)), likelihood=likelihood),
    ):
        with refuses(ANYTHING, value, *mentioned) as caught:
            use()
        assert [int(number) for number in re.findall(r"\d+", caught.value.allowed or "")] == limits


def test_a_support_that_depends_on_the_output_is_compared_where_it_is_known() -> None:
    """One example's bounds say nothing of another's; each example's own do."""
    likelihood = Observes(lambda f, e: dist.Uniform(torch.zeros_like(f), f))
    output, y = torch.tensor([[1.0], [5.0]]), torch.tensor([0.5, 4.0])
    assert torch.equal(check_observations("data", y, likelihood, output[:1]), y)
    assert torch.equal(check_observations("data", y, likelihood, output), y)
    with refuses("data", 6, "example 1", "Uniform"):
        check_observations("data", torch.tensor([0.5, 6.0]), likelihood, output)


def test_an_output_at_fault_is_not_blamed_on_the_observations() -> None:
    y = torch.tensor([1.0, 2.0])
    assert torch.equal(check_observations("data", y, Observes(lambda f, e: dist.Poisson(e)), torch.full((1, 1), 1e4)), y)


@pytest.mark.parametrize(
    ("make", "why"),
    [(lambda f, e: dist.Gamma(f - 9, 1.0), "concentration"), (lambda f, e: dist.Normal(f.reshape(7, 7), 1.0), "shape")],
)
def test_a_likelihood_that_cannot_take_the_output(make: Any, why: str) -> None:
    model = BayesianNetwork(nn.Linear(3, 1), Observes(make))
    with refuses("training data", (4, 1), "(4, 1)", why):
        fit(PointEstimate(model), (torch.zeros(4, 3), torch.ones(4)), epochs=1, progress=False)
