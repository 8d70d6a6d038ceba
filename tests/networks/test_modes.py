"""Measuring leaves a network as it was, each of its modules, and a network for running only is one that can be measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from compaction_support import prune_at_random
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, evaluate, predict
from pyro_vd.inference.joint_draws import joint_draws
from pyro_vd.networks.flops import network_cost
from pyro_vd.networks.ready import mlp
from pyro_vd.posterior import predictive
from pyro_vd.runtime import sparsify_runtime

X, Y = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3


def mixed() -> nn.Sequential:
    """A network in training mode, its batch normalisation frozen, with a module that changes more than a flag."""
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Sequential(nn.Dropout(0.5)), Switch(), nn.Linear(8, 3))
    net.train()
    net[1].eval()
    return net


class Switch(nn.Module):
    """Is told of every change of its mode."""

    on = True

    def train(self, mode: bool = True) -> Switch:
        self.on = mode
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        assert not self.on
        return x


def modes(net: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in net.named_modules()}


def refused(net: nn.Module) -> None:
    with refuses(ANYTHING, ANYTHING, (5,)):
        predict(net, X[:, :5])


MEASURES: dict[str, Callable[[nn.Module], object]] = {
    "evaluate": lambda net: evaluate(net, (X, Y)),
    "predict": lambda net: predict(net, X),
    "network_cost": lambda net: network_cost(net, X[:1]),
    "a refusal": refused,
}
DRAWS: dict[str, Callable[[BayesianNetwork, VariationalDropout], object]] = {
    "predictive": lambda model, guide: predictive(guide, X, 2),
    "evaluate": lambda model, guide: evaluate(guide, (X, Y), num_samples=2),
    "joint_draws": lambda model, guide: joint_draws(guide, X, Y, 2, lambda *_: {}, lambda *_: None),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_measuring_puts_back_the_mode_of_every_module(measure: str) -> None:
    net = mixed()
    before = modes(net)
    assert len(set(before.values())) == 2
    MEASURES[measure](net)
    assert modes(net) == before
    assert net[3].on, "a module's own train is called"


@pytest.mark.parametrize("draws", DRAWS)
def test_so_do_draws(draws: str) -> None:
    model = BayesianNetwork(mixed())
    guide, before = VariationalDropout(model), modes(model)
    DRAWS[draws](model, guide)
    assert modes(model) == before


def runtime() -> tuple[nn.Module, nn.Module]:
    net = mlp((6, 40, 30, 3), dropout=0.5).eval()
    prune_at_random(net)
    return net, sparsify_runtime(net, (1, 30))


def test_a_network_for_running_only_stays_in_evaluation_mode_and_is_measured_as_the_plain_one() -> None:
    net, fast = runtime()
    assert not any(modes(fast).values())
    wanted, found = evaluate(net, (X, Y)), evaluate(fast, (X, Y))
    assert not any(modes(fast).values())
    torch.testing.assert_close(fast(X), net(X))
    assert (found.error, found.compression) == (wanted.error, wanted.compression)
    assert [(layer.weights, layer.nonzero) for layer in found.layers] == [(s.weights, s.nonzero) for s in wanted.layers]
