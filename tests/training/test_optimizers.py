"""``fit`` trains with any optimizer over named groups of parameters, and refuses what cannot train them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropout, fit
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import PointEstimate, WeightGuide
from pyro_vd.models import MLP, Normal
from pyro_vd.training import LRSchedule

X, Y = torch.randn(23, 4, generator=torch.Generator().manual_seed(0)), torch.arange(23) % 3
OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 10, "progress": False}


def trained(**options: Any) -> dict[str, Tensor]:
    """The parameters of a small guide after a training that always starts from the same seed."""
    torch.manual_seed(1)
    guide = VariationalDropout(MLP((4, 3)))
    fit(guide, (X, Y), **{**OPTIONS, **options})
    return {name: parameter.detach() for name, parameter in guide.named_parameters()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


CLASSES: dict[str, tuple[Any, Callable[[Any], torch.optim.Optimizer]]] = {
    "a class": (torch.optim.Adadelta, partial(torch.optim.Adadelta, lr=0.01)),
    "its name": ("RMSprop", partial(torch.optim.RMSprop, lr=0.01)),
    "a partial": (partial(torch.optim.SGD, momentum=0.9), partial(torch.optim.SGD, lr=0.01, momentum=0.9)),
    "a function": (lambda groups: torch.optim.NAdam(groups, eps=1e-3), partial(torch.optim.NAdam, lr=0.01, eps=1e-3)),
}


@pytest.mark.parametrize("case", CLASSES)
def test_the_steps_are_those_of_a_loop_of_ones_own(case: str) -> None:
    """Of a network without noise, on whole batches; the loss is that of all N examples."""
    given, plain = CLASSES[case]
    net = nn.Linear(4, 3)
    by_hand = copy.deepcopy(net)
    guide = PointEstimate(BayesianNetwork(net))
    fit(guide, (X, Y), epochs=5, batch_size=23, lr=0.01, optimizer=given, progress=False)
    optimizer = plain(by_hand.parameters())
    for _ in range(5):
        optimizer.zero_grad()
        cross_entropy(by_hand(X), Y, reduction="sum").backward()
        optimizer.step()
    torch.testing.assert_close(guide.site("weight").theta, by_hand.weight)
    torch.testing.assert_close(guide.model.net.bias, by_hand.bias)


def test_adam_over_the_groups_is_the_default() -> None:
    assert equal(trained(), trained(optimizer=partial(torch.optim.Adam, fused=True)))
    assert equal(trained(lr=0.1), trained(lr=0.1, optimizer=partial(torch.optim.Adam, fused=True)))


GUIDES: dict[str, tuple[Callable[[BayesianNetwork], WeightGuide], Any, set[str], set[str]]] = {
    "variational": (VariationalDropout, Normal(), {"theta"}, {"log_sigma2"}),
    "row": (partial(VariationalDropout, alpha_sharing="row"), Normal(), {"theta"}, {"log_alpha"}),
    "group": (GroupVariationalDropout, None, {"theta", "z_mu"}, {"log_sigma2", "z_log_sigma2"}),
    "point": (PointEstimate, Normal(0.5), {"theta"}, set()),
}


@pytest.mark.parametrize("case", GUIDES)
def test_the_groups(case: str) -> None:
    make, likelihood, means, variances = GUIDES[case]
    prior = {"prior": NormalJeffreys} if case == "group" else {}
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 5), nn.Linear(5, 3))
    net[2].requires_grad_(False)
    model = BayesianNetwork(net, likelihood, **prior)
    guide = make(model)
    seen: dict[str, set[int]] = {}

    def factory(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        seen.update({group["name"]: {id(parameter) for parameter in group["params"]} for group in groups})
        assert not any("lr" in group for group in groups)
        return torch.optim.SGD(groups)

    y = Y if likelihood is None else torch.randn(23, 3)
    fit(guide, (X, y), **OPTIONS, optimizer=factory)
    named = {
        "theta": {id(p) for name, p in guide.named_parameters() if name.rpartition(".")[2] in means},
        "log_variance": {id(p) for name, p in guide.named_parameters() if name.rpartition(".")[2] in variances},
        "plain": {id(p) for p in model.parameters() if p.requires_grad},
    }
    assert seen == {name: parameters for name, parameters in named.items() if parameters}
    assert sum(map(len, seen.values())) == sum(p.requires_grad for module in (model, guide) for p in module.parameters())


def slow_variances(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    rates = {"theta": 0.01, "log_variance": 0.0, "plain": 0.01}
    return torch.optim.Adam([{**group, "lr": rates[group["name"]]} for group in groups])


def test_each_group_has_its_own_rate() -> None:
    before, after = trained(lr=1e-30), trained(optimizer=slow_variances)
    name = "sites.1.weight.log_sigma2"
    assert torch.equal(after[name], before[name])
    assert not torch.equal(after["sites.1.weight.theta"], before["sites.1.weight.theta"])


def test_the_rate_is_the_trainings_or_the_optimizers() -> None:
    for optimizer in (partial(torch.optim.SGD, lr=1e-4), lambda groups: torch.optim.SGD(groups, lr=1e-4)):
        assert equal(trained(optimizer=optimizer), trained(optimizer="SGD", lr=1e-4))
    with refuses("lr", 0.1, "SGD"):
        trained(lr=0.1, optimizer=partial(torch.optim.SGD, lr=1e-4))


def test_the_schedule_multiplies_the_rate_of_each_group() -> None:
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            rates.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    def factory(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return Watched([{**group, "lr": 1e-5 * 2**number} for number, group in enumerate(groups)])

    trained(optimizer=factory, lr_schedule=LRSchedule("steps", steps={1: 0.5}))
    rates = rates[-6:]  # before the training a copy takes a step on trial
    assert rates == [[1e-5, 2e-5, 4e-5]] * 3 + [[0.5e-5, 1e-5, 2e-5]] * 3


class Raises(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        raise RuntimeError("no step")


REFUSED: dict[str, tuple[Any, str]] = {
    "an object": (torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1), "a class"),
    "a wrong name": ("AdaW", "AdamW"),
    "another class": (nn.Linear, "cannot train"),
    "without parameter groups": (torch.optim.LBFGS, "LBFGS"),
    "of sparse gradients": (torch.optim.SparseAdam, "sparse"),
    "of matrices": (torch.optim.Muon if hasattr(torch.optim, "Muon") else Raises, "cannot train"),
    "a bad argument": (partial(torch.optim.SGD, momentum=-1), "momentum"),
    "one that raises": (Raises, "no step"),
    "nothing": (lambda groups: None, "None"),
    "a part": (lambda groups: torch.optim.SGD(groups[1:]), "sites.1.weight.theta"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_train_is_refused(case: str) -> None:
    optimizer, said = REFUSED[case]
    torch.manual_seed(1)
    guide = VariationalDropout(MLP((4, 3)))
    before, generator = copy.deepcopy(guide.state_dict()), torch.get_rng_state()
    with refuses("optimizer", ANYTHING, said):
        fit(guide, (X, Y), **OPTIONS, optimizer=optimizer)
    assert equal(before, guide.state_dict())
    assert torch.equal(generator, torch.get_rng_state())
    assert guide.model.num_data is None


def test_weight_decay_belongs_to_adam() -> None:
    with refuses("weight_decay", 0.1, "optimizer"):
        trained(optimizer="AdamW", weight_decay=0.1)
    before = trained(lr=1e-30)["sites.1.weight.theta"]
    decayed = trained(optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=100.0))["sites.1.weight.theta"]
    assert decayed.norm() < 0.7 * before.norm()
