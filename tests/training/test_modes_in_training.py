"""What came in evaluation mode stays in it while the rest is trained, whoever trains: statistics stay bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, evaluate, fine_tune, fit, predict, prune
from pyro_vd.guides import PointEstimate

X = torch.randn(48, 6, generator=torch.Generator().manual_seed(0)) + 2
Y = torch.arange(48) % 3


class Seen(nn.Module):
    """Notes the modes in which it has run."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.modes.add(self.training)
        return x


def backbone() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), Seen())


def network() -> nn.Sequential:
    """In training mode, its backbone in evaluation mode."""
    net = nn.Sequential(backbone(), nn.Linear(8, 8), nn.BatchNorm1d(8), Seen(), nn.Linear(8, 3))
    net[0].eval()
    return net


def by_fit(model: BayesianNetwork, **options: Any) -> None:
    fit(VariationalDropout(model), (X, Y), (X, Y), epochs=2, batch_size=20, progress=False, **options)


def by_own_loop(model: BayesianNetwork) -> None:
    loss_of = VariationalDropoutELBO()(model, VariationalDropout(model))
    optimizer = torch.optim.Adam(loss_of.parameters())
    for _ in range(3):
        loss_of.train()
        optimizer.zero_grad()
        loss_of(X, Y).backward()
        optimizer.step()
        loss_of.eval()


TRAININGS: dict[str, Callable[[BayesianNetwork], None]] = {
    "fit": by_fit,
    "fit with particles": lambda model: by_fit(model, num_particles=2),
    "own loop": by_own_loop,
    "own loop over a copy": lambda model: by_own_loop(model),
}


def statistics(norm: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in norm.named_buffers() if "running" in name or "num" in name}


def equal(before: dict[str, Tensor], norm: nn.Module) -> bool:
    after = statistics(norm)
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("how", TRAININGS)
def test_a_backbone_in_evaluation_mode_stays_in_it(how: str, frozen: bool) -> None:
    net = network()
    net[0].requires_grad_(not frozen)
    model = BayesianNetwork(net)
    model = copy.deepcopy(model) if how == "own loop over a copy" else model
    before, other = statistics(net[0][1]), statistics(net[2])
    TRAININGS[how](model)
    assert equal(before, model.net[0][1])
    assert not equal(other, model.net[2]), "what came in training mode is trained in it"
    assert [True in seen.modes for seen in (model.net[0][4], model.net[3])] == [False, True]
    evaluate(model.to_module(model.initial_weights), (X, Y))
    assert not model.train().net[0][3].training
    assert model.net[2].training
    assert not model.eval().net[2].training


def test_it_does_after_measuring_and_in_the_plain_network() -> None:
    model = BayesianNetwork(network())
    guide = VariationalDropout(model)
    model.train()
    before = {name: module.training for name, module in model.named_modules()}
    predict(guide, X, num_samples=2)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert set(before.values()) == {True, False}
    assert not any(module.training for module in prune(guide).modules())


class Gate(nn.Module):
    """A single mode deep down, whose own ``train`` is told."""

    told = True

    def train(self, mode: bool = True) -> Gate:
        self.told = mode
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("paths", [["0"], ["0.1"], ["0", "0.1.0"], ["", "1"], ["1", "2", "3"], ["0.1.0"]])
def test_any_mixture_of_modes_comes_back(paths: list[str]) -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(6, 5), nn.Sequential(Gate(), nn.Dropout())), nn.Linear(5, 3), Gate(), nn.ReLU())
    for path in paths:
        net.get_submodule(path).training = False
    wanted = {name: module.training for name, module in net.named_modules()}
    model = BayesianNetwork(net)
    for _ in range(2):
        assert {name: module.training for name, module in model.train().net.named_modules()} == wanted
        assert all(gate.told == gate.training for gate in model.net.modules() if isinstance(gate, Gate))
        model.eval()
        assert not any(module.training for module in model.modules())


def test_a_module_of_two_names() -> None:
    norm = nn.BatchNorm1d(6).eval()
    net = nn.Sequential(nn.Linear(6, 6), norm, nn.Linear(6, 6), norm, nn.Linear(6, 3))
    model = BayesianNetwork(net)
    before = statistics(norm)
    by_fit(model)
    assert equal(before, model.net[3])


def whole() -> nn.Sequential:
    """All in evaluation mode, its backbone frozen."""
    net = network()
    net[0].requires_grad_(False)
    return net.eval()


@pytest.mark.parametrize("how", TRAININGS)
def test_a_network_all_in_evaluation_mode_is_trained_but_for_statistics_and_what_is_frozen(how: str) -> None:
    net = whole()
    model = BayesianNetwork(net)
    model = copy.deepcopy(model) if how == "own loop over a copy" else model
    before = [statistics(norm) for norm in (net[0][1], net[2])]
    TRAININGS[how](model)
    assert all(equal(each, norm) for each, norm in zip(before, (model.net[0][1], model.net[2]), strict=True))
    assert [True in seen.modes for seen in (model.net[0][4], model.net[3])] == [False, True]
    modes = {name for name, module in model.train().net.named_modules() if not module.training}
    assert modes == {"0", "0.0", "0.1", "0.2", "0.3", "0.4", "2"}


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm1d(8), nn.InstanceNorm1d(8, track_running_stats=True), nn.SyncBatchNorm(8), nn.BatchNorm1d(8, affine=False)],
)
def test_every_kind_of_running_statistics(norm: nn.Module) -> None:
    model = BayesianNetwork(nn.Sequential(nn.Linear(6, 8), norm, nn.Linear(8, 3)).eval())
    assert [name for name, module in model.train().net.named_modules() if not module.training] == ["1"]


def test_fine_tuning_leaves_statistics_as_they_are() -> None:
    net = whole()
    before = copy.deepcopy(net)
    fine_tune(net, (X, Y), epochs=2, batch_size=20, progress=False)
    assert equal(statistics(before[0][1]), net[0][1])
    assert equal(statistics(before[2]), net[2])
    assert not any(module.training for module in net.modules())
    assert not torch.equal(before[1].weight, net[1].weight)


def test_a_new_network_is_trained_in_training_mode() -> None:
    model = BayesianNetwork(backbone().append(nn.Linear(8, 3)))
    before = statistics(model.net[1])
    guide = PointEstimate(model)
    fit(guide, (X, Y), epochs=1, progress=False)
    assert not equal(before, model.net[1])
    assert all(module.training for module in model.modules())
