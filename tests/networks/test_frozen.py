"""Frozen parameters: they stay as they are, where they are, and what is learnt beside them is not disturbed."""

from __future__ import annotations

import pytest
import torch
from pyro.distributions import Delta
from support import ANYTHING, refuses
from torch import nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit, prune
from pyro_vd.distributions import UnitDropout
from pyro_vd.guides import BernoulliDropout


def data() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(30, 6), torch.randint(3, (30,))


def test_frozen_weights_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    net[0].requires_grad_(False)
    model = BayesianNetwork(net)
    assert (model.weight_names, "frozen ones (56)" in caplog.text) == (["2.weight"], True)
    guide = VariationalDropout(model)
    fit(guide, data(), epochs=3, lr=0.1, progress=False)
    pruned = prune(guide)
    assert torch.equal(pruned[0].weight, net[0].weight)
    assert torch.equal(pruned[0].bias, net[0].bias)
    assert not torch.equal(pruned[2].weight, net[2].weight)
    with refuses(ANYTHING, ANYTHING, "Sequential", "Linear, Conv1d"):
        BayesianNetwork(net.requires_grad_(False))


FROZEN = ["0.weight", "0.bias", "1.bias", "1.weight", "3.bias", "4.weight"]


@pytest.mark.parametrize("names", [[name] for name in FROZEN] + [FROZEN[:2], FROZEN[2:4], FROZEN[1:]])
def test_parameters_keep_their_order_and_whether_they_are_learnt(names: list[str]) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Sequential(), nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3))
    for name in names:
        net.get_parameter(name).requires_grad_(False)
    model = BayesianNetwork(net)
    pruned = prune(VariationalDropout(model), 1e9)
    for (name, parameter), (other, copy) in zip(net.named_parameters(), pruned.named_parameters(), strict=True):
        assert (name, parameter.requires_grad) == (other, copy.requires_grad)
        assert torch.equal(parameter, copy)
    again = BayesianNetwork(pruned)
    assert again.weight_names == model.weight_names


@pytest.mark.parametrize("module", [nn.PReLU(), nn.Linear(5, 5)])
def test_a_frozen_module_of_two_names(module: nn.Module) -> None:
    module.requires_grad_(False)
    net = nn.Sequential(nn.Linear(6, 5), module, nn.Linear(5, 5), module, nn.Linear(5, 3))
    model = BayesianNetwork(net)
    guide = VariationalDropout(model)
    fit(guide, data(), epochs=2, progress=False)
    pruned = prune(guide)
    assert pruned[1] is pruned[3]
    assert torch.equal(pruned[1].weight, module.weight)


def test_dropout_is_on_hidden_units_behind_a_frozen_layer() -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    net[0].requires_grad_(False)
    guide = BernoulliDropout(BayesianNetwork(net), 0.5)
    assert all(isinstance(guide.posterior(name), UnitDropout) for name in ("2.weight", "4.weight"))
    net[0].requires_grad_(True)
    assert isinstance(BernoulliDropout(BayesianNetwork(net), 0.5).posterior("0.weight"), Delta)
    net[0].requires_grad_(False)
    net[2].requires_grad_(False)
    assert isinstance(BernoulliDropout(BayesianNetwork(net), 0.5).posterior("4.weight"), UnitDropout), "one head is enough"
