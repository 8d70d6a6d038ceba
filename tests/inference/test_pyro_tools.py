"""Pyro's own tools take the model as any other: predictive draws, traces of its shapes, parts of larger models."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Predictive
from pyro.infer.inspect import get_dependencies, get_model_relations
from support import refuses
from torch import nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, InputError, VariationalDropout
from pyro_vd.distributions import LogUniform, NormalARD, NormalJeffreys
from pyro_vd.guides import BernoulliDropout, LogNormalDropout, PointEstimate
from pyro_vd.posterior import predictive

X = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
Y = X[:, :3].argmax(1)
IMPROPER: list[Callable] = [LogUniform, NormalARD, NormalJeffreys, lambda shape: LogUniform(shape, kl="exact").mask(True)]


def network(prior: Callable = LogUniform, **options: Any) -> BayesianNetwork:
    torch.manual_seed(0)
    return BayesianNetwork(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), prior=prior, **options)


@pytest.mark.parametrize(
    "kind", [VariationalDropout, PointEstimate, BernoulliDropout, GroupVariationalDropout, LogNormalDropout]
)
def test_predictive_draws_have_the_probabilities_of_the_guide(kind: Any) -> None:
    model = network(NormalJeffreys if kind is GroupVariationalDropout else LogUniform)
    guide = kind(model, p=0.3) if kind is BernoulliDropout else kind(model)
    if kind is VariationalDropout:
        for name in guide.site_names:
            guide.site(name).log_sigma2.data.fill_(-0.5)
    drawn = Predictive(model, guide=guide, num_samples=7)(X)
    assert drawn["y"].shape == (7, 30)
    assert set(drawn) == {"0.weight", "2.weight", "y"}
    count = 300
    draws = Predictive(model, guide=guide, num_samples=count, return_sites=("y", "_RETURN"))(X)
    assert draws["_RETURN"].shape == (count, 30, 3)
    shares = torch.stack([(draws["y"] == label).double().mean(0) for label in range(3)], 1)
    p = predictive(guide, X, num_samples=2000).double()
    z = (shares - p) / (p * (1 - p) / count).sqrt()
    assert z.abs().max() < 5
    assert 0.6 < z.square().mean() < 1.5


def test_several_draws_at_a_time_are_refused() -> None:
    model = network()
    for options in ({"guide": VariationalDropout(model)}, {}):
        with pytest.raises(InputError) as caught:  # to whose message Pyro adds the shapes of the trace
            Predictive(model, num_samples=7, parallel=True, **options)(X)
        assert "'0.weight'" in str(caught.value)
        assert "parallel=False" in str(caught.value)


@pytest.mark.parametrize("prior", IMPROPER)
def test_without_a_guide_the_weights_are_the_networks_own_and_it_is_said_once(
    prior: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    model = network(prior)
    with caplog.at_level(logging.WARNING, logger="pyro_vd"):
        drawn = Predictive(model, num_samples=5, return_sites=("0.weight", "2.weight", "y"))(X)
        trace = poutine.trace(model).get_trace(X, Y)
    for name, weight in model.initial_weights.items():
        assert torch.equal(drawn[name], weight.expand(5, 1, *weight.shape))
        assert torch.equal(trace.nodes[name]["value"], weight)
    assert [record.getMessage() for record in caplog.records] == [
        "BayesianNetwork runs without a guide: the prior of its weights has no samples, so they are the network's own"
    ]
    with refuses("NormalARD" if prior is NormalARD else "NormalJeffreys" if prior is NormalJeffreys else "LogUniform"):
        model.prior("0.weight").sample()


def test_a_proper_prior_is_sampled(caplog: pytest.LogCaptureFixture) -> None:
    model = network(lambda shape: dist.Normal(torch.zeros(shape), 2.0))
    weights = Predictive(model, num_samples=400, return_sites=("0.weight",))(X)["0.weight"]
    assert weights.std() == pytest.approx(2.0, rel=0.1)
    assert not caplog.records


@pytest.mark.parametrize("prior", IMPROPER)
def test_what_depends_on_what_can_be_asked(prior: Callable) -> None:
    model = network(prior)
    own: dict[str, set] = {"0.weight": set(), "2.weight": set(), "y": set()}
    found = get_dependencies(model, (X, Y))["prior_dependencies"]
    assert found == {name: {name: set()} for name in ("0.weight", "2.weight")} | {"y": own}
    relations = get_model_relations(model, (X, Y))
    assert relations["sample_sample"]["y"] == ["0.weight", "2.weight"]
    assert relations["plate_sample"] == {"data": ["y"]}
    assert relations["observed"] == ["y"]
    assert set(relations["param_constraint"]) == {"net$$$0.bias", "net$$$2.bias"}
    copy.deepcopy(model)
