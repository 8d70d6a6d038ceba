"""Layers are listed, counted and given noise in the order in which they are run, whatever order they are registered in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, fx, nn

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    PruningRule,
    VariationalDropout,
    VariationalDropoutELBO,
    evaluate,
    fit,
    prune,
    surviving_units,
)
from pyro_vd.compaction import unit_counts
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.distributions.unit_dropout import UnitDropout
from pyro_vd.guides import BernoulliDropout, GaussianDropout, WeightGuide
from pyro_vd.networks.execution import trace_execution
from pyro_vd.networks.layers import named_weights, widths
from pyro_vd.networks.sizes import layer_sizes
from pyro_vd.pruning import pruning_masks

X, Y = torch.randn(24, 6, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3


class Backwards(nn.Module):
    """6-5-4-3, registered from the output to the input."""

    def __init__(self, followed: bool = True) -> None:
        super().__init__()
        self.out, self.hidden, self.inp, self.unused = nn.Linear(4, 3), nn.Linear(5, 4), nn.Linear(6, 5), nn.Linear(2, 2)
        self.followed, self.passes = followed, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        h = self.inp(x).relu()
        if not self.followed and h.sum() < -1:  # a choice by value, which torch.fx cannot follow
            h = -h
        return self.out(self.hidden(h).relu())


class Branches(nn.Module):
    """Two layers read the data, one after another layer with a frozen weight."""

    def __init__(self, followed: bool = True) -> None:
        super().__init__()
        self.head, self.left, self.right, self.frozen = nn.Linear(8, 3), nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 6)
        self.frozen.weight.requires_grad_(False)
        self.followed = followed

    def forward(self, x: Tensor) -> Tensor:
        if not self.followed and x.sum() < -1e9:
            x = -x
        return self.head(torch.cat([self.right(x), self.left(self.frozen(x))], 1).relu())


def test_names_and_widths() -> None:
    net = Backwards()
    assert [name for name, _ in named_weights(net)] == ["inp.weight", "hidden.weight", "out.weight", "unused.weight"]
    assert net.passes == 0
    del net.unused
    assert widths(net) == (6, 5, 4, 3)
    model = BayesianNetwork(net)
    assert model.weight_names == ["inp.weight", "hidden.weight", "out.weight"]
    assert list(dict(model.to_module(model.initial_weights).named_parameters())) == list(dict(net.named_parameters()))
    assert [layer.site for layer in evaluate(net, (X, Y)).layers] == model.weight_names


def test_a_shared_weight_has_one_name_and_the_place_where_it_is_first_used() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second, self.out, self.first = nn.Linear(6, 6), nn.Linear(6, 3), nn.Linear(6, 6)
            self.first.weight = self.second.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.second(self.first(x).relu()))

    net, names = Tied(), ["second.weight", "out.weight"]
    assert [name for name, _ in named_weights(net)] == names
    assert BayesianNetwork(net).weight_names == names
    assert [layer.site for layer in layer_sizes(net)] == names


def test_limits_of_units_are_first_layer_first() -> None:
    net = Backwards()
    del net.unused
    model = BayesianNetwork(net, prior=NormalJeffreys)
    guide = GroupVariationalDropout(model)
    kept = pruning_masks(guide, PruningRule(max_inputs=[3, 2, 1]))
    assert [int(kept[name].any(0).sum()) for name in ("inp.weight", "hidden.weight", "out.weight")] == [3, 2, 1]
    assert unit_counts(surviving_units(prune(guide, PruningRule(max_inputs=[3, 2, 1])), X[:1]))[:3] == [3, 2, 1]


@pytest.mark.parametrize("followed", [True, False])
def test_dropout_leaves_the_data_alone(followed: bool) -> None:
    net = Backwards(followed)
    del net.unused
    model = BayesianNetwork(net)
    for guide in (BernoulliDropout(model, 0.5), GaussianDropout(model, 0.5, noise_on="unit")):
        VariationalDropoutELBO()(model, guide)(X, Y)
        noisy = [name for name in guide.site_names if isinstance(guide.posterior(name), UnitDropout)]
        assert sorted(noisy) == ["hidden.weight", "out.weight"]


@pytest.mark.parametrize("followed", [True, False])
def test_every_layer_that_reads_the_data_is_left_alone(followed: bool) -> None:
    model = BayesianNetwork(Branches(followed))
    guide = BernoulliDropout(model, 0.5)
    VariationalDropoutELBO()(model, guide)(X, Y)
    noisy = [name for name in guide.site_names if isinstance(guide.posterior(name), UnitDropout)]
    assert sorted(noisy) == ["head.weight", "left.weight"]


def test_a_network_that_cannot_be_followed_keeps_its_order_and_its_state() -> None:
    net = Backwards(followed=False)
    assert trace_execution(net) is None
    assert net.passes == 0
    assert "_orig" not in repr(net.__dict__)
    assert next(name for name, _ in named_weights(net)) == "out.weight"
    del net.unused
    model = BayesianNetwork(net)
    guide = VariationalDropout(model)
    fit(guide, (X, Y), epochs=2, batch_size=12, progress=False)
    assert prune(guide).passes >= 4


@pytest.mark.parametrize(
    "call",
    [lambda guide: guide(X, Y), lambda guide: guide(x=X, y=Y), lambda guide: guide(y=Y, x=X), lambda guide: guide(X, y=Y)],
)
def test_noise_is_where_it_belongs_from_the_first_draw_of_the_guide(call: Callable[[WeightGuide], Any]) -> None:
    model = BayesianNetwork(Branches(followed=False))
    guide = BernoulliDropout(model, 0.5)
    call(guide)
    noisy = [name for name in guide.site_names if isinstance(guide.posterior(name), UnitDropout)]
    assert sorted(noisy) == ["head.weight", "left.weight"]


def test_a_trace_that_fails_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = 0

    def counted(self: fx.Tracer, *args: Any, **kwargs: Any) -> fx.Graph:
        nonlocal traces
        traces += 1
        return trace(self, *args, **kwargs)

    trace = fx.Tracer.trace
    monkeypatch.setattr(fx.Tracer, "trace", counted)
    model = BayesianNetwork(Branches(followed=False))
    assert traces == 1
    assert [model.reads_data(name) for name in model.weight_names] == [True, False, False]
    guide = BernoulliDropout(model, 0.5)
    guide()
    assert traces == 1


def test_noise_on_units_needs_a_layer_behind_another() -> None:
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x)

    with refuses(ANYTHING, ANYTHING, "a.weight"):
        BernoulliDropout(BayesianNetwork(Parallel()), 0.5)


def test_units_are_refused_where_the_order_is_another_than_can_be_listed() -> None:
    net = Backwards(followed=False)
    del net.unused
    model = BayesianNetwork(net, prior=NormalJeffreys)
    guide = GroupVariationalDropout(model)
    fit(guide, (X, Y), epochs=1, progress=False)
    with refuses(ANYTHING, ANYTHING, "inp.weight, hidden.weight, out.weight", "torch.fx"):
        prune(guide, PruningRule(max_inputs=[3, 2, 1]))
