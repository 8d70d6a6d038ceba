"""What a network's own code may do with its weights in a forward pass: it works as in the plain network, or is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
import torch.nn.functional as F
from forward_pass_support import Net, X, Y, plainly
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, compact, fit, predict, prune
from pyro_vd.distributions import MultiplicativeNormal
from pyro_vd.guides import PointEstimate
from pyro_vd.inference import LocalReparameterization
from pyro_vd.inference.gaussian_weight import GaussianWeight
from pyro_vd.models.gradient_watch import LOOKS

CHANGED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "data.clamp_": lambda n, x: (n.a.weight.data.clamp_(-1, 1), plainly(n, x))[1],
    "clamp_": lambda n, x: (torch.no_grad()(n.a.weight.clamp_)(-9, 9), plainly(n, x))[1],
    "detach": lambda n, x: (n.a.weight.detach().mul_(0.5), plainly(n, x))[1],
    "a view": lambda n, x: (torch.no_grad()(lambda: n.a.weight[0].zero_())(), plainly(n, x))[1],
    "an item": lambda n, x: (torch.no_grad()(lambda: n.a.weight.__setitem__(0, 1.0))(), plainly(n, x))[1],
    "torch.nn.init": lambda n, x: (nn.init.ones_(n.a.weight), plainly(n, x))[1],
    "out": lambda n, x: (torch.no_grad()(torch.mul)(n.a.weight, 2, out=n.a.weight), plainly(n, x))[1],
    "data of a view": lambda n, x: (n.a.weight.data.view(-1)[:3].fill_(0.0), plainly(n, x))[1],
    "data is set": lambda n, x: (setattr(n.a.weight, "data", n.a.weight.data * 2), plainly(n, x))[1],
    "another parameter": lambda n, x: (setattr(n.a, "weight", nn.Parameter(torch.ones(6, 6))), plainly(n, x))[1],
    "a new module": lambda n, x: (setattr(n, "c", nn.Linear(3, 3)), n.c(plainly(n, x)))[1],
}


@pytest.mark.parametrize("make", [PointEstimate, VariationalDropout])
@pytest.mark.parametrize("how", CHANGED)
def test_a_weight_that_is_changed_in_place_is_refused(how: str, make: Callable[[BayesianNetwork], Any]) -> None:
    model = BayesianNetwork(Net(CHANGED[how]))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with refuses(ANYTHING, ANYTHING, "c.weight" if how == "a new module" else "a.weight"):
        fit(make(model), (X, Y), epochs=1, progress=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_drawn_weight_is_not_changed_through_its_data() -> None:
    q = MultiplicativeNormal(torch.ones(3, 5), torch.zeros(3, 5))
    for called, change in (
        ("clamp_", lambda w: w.data.clamp_(0, 1)),
        ("mul_", lambda w: w.mul_(2)),
        ("zero_", lambda w: w.detach().zero_()),
    ):
        with refuses("a weight with a prior", called):
            change(GaussianWeight(q.theta, q.variance))
    weight = GaussianWeight(q.theta, q.variance)
    assert torch.equal(weight.data.sum(), weight.draw().sum())
    assert isinstance(LocalReparameterization(), LocalReparameterization)


def test_an_activation_that_is_kept_does_not_hinder_a_copy() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        net.last = net.a(x)
        net.history = [net.last]
        net.passes += 1
        return net.b(net.last.relu())

    net = Net(forward, lambda net: setattr(net, "passes", 0))
    net(X)
    model = BayesianNetwork(net)
    guide = VariationalDropout(model)
    fit(guide, (X, Y), (X, Y), epochs=2, batch_size=12, progress=False)
    plain = prune(guide)
    assert plain.passes >= 1 + 4  # what a pass counts is kept
    assert model.net.last.shape == (12, 6)
    plain(X)
    torch.testing.assert_close(compact(plain, X[:1])(X), plain(X))
    copy.deepcopy(model)


def test_what_a_pass_keeps_in_evaluation_goes_with_it() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        product = net.a.weight @ net.a.weight
        return net.b(F.linear(x, product if net.training else net.cache.setdefault("w", product)))

    model = BayesianNetwork(Net(forward, lambda net: setattr(net, "cache", {})))
    guide = VariationalDropout(model, log_sigma2=-1.0)
    assert predict(guide, X, num_samples=50).mutual_information.mean() > 0.01
    assert not prune(guide).cache


def test_a_state_of_the_network_s_own_goes_on() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        net.h = net.h + 1
        net.r = 0.9 * net.r + 0.1 * x.mean()
        net.aux = net.a(x).relu()
        net.parts = [net.a, net.b]
        return net.b(net.aux)

    def prepare(net: Any) -> None:
        net.h = torch.zeros(())
        net.register_buffer("r", torch.zeros(()))

    class Auxiliary(BayesianNetwork):
        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            output = super().forward(x, y)
            pyro.factor("auxiliary", -self.net.aux.square().sum())
            return output

    model = Auxiliary(Net(forward, prepare))
    guide = VariationalDropout(model, log_sigma2=-2.0)
    loss_of = VariationalDropoutELBO()(model, guide)
    before = model.net.h.item()
    losses = [loss_of(X, Y) for _ in range(5)]
    assert model.net.h.item() - before >= 5
    assert model.net.r != 0
    assert len({loss.item() for loss in losses}) == 5
    losses[-1].backward()
    assert guide.site("a.weight").theta.grad.any()
    assert type(copy.deepcopy(model)) is Auxiliary
    a, b = predict(guide, X, num_samples=400), predict(guide, X, num_samples=400)
    torch.testing.assert_close(a.log_p.exp(), b.log_p.exp(), rtol=0, atol=0.1)
    assert isinstance(model.net.aux, Tensor)
    copy.deepcopy(model)


def test_several_particles_are_one_look(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    nn.init.zeros_(net[1].weight)
    model = BayesianNetwork(net)
    fit(VariationalDropout(model), (X, Y), epochs=3, num_particles=2 * LOOKS, progress=False)
    assert not caplog.records


def test_removed_weights_are_drawn_as_zero() -> None:
    model = BayesianNetwork(Net(lambda n, x: n.b(n.a(x).relu() @ n.a.weight)))
    guide = VariationalDropout(model)
    guide.apply_masks({name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in model.initial_weights.items()})
    with LocalReparameterization():
        assert not any(weight.draw().any() for weight in guide().values())


@pytest.mark.parametrize("make", [PointEstimate, VariationalDropout])
def test_a_weight_that_training_does_not_reach_is_named(
    make: Callable[[BayesianNetwork], Any], caplog: pytest.LogCaptureFixture
) -> None:
    net = Net(lambda n, x: n.b(x))  # without n.a
    model = BayesianNetwork(net)
    fit(make(model), (X, Y), epochs=LOOKS, batch_size=24, progress=False)
    assert [record.message.count("a.weight") for record in caplog.records] == [1]
    assert "b.weight" not in caplog.text


@pytest.mark.parametrize("make", [PointEstimate, VariationalDropout])
def test_zero_at_the_first_step_alone_is_no_fault(
    make: Callable[[BayesianNetwork], Any], caplog: pytest.LogCaptureFixture
) -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    nn.init.zeros_(net[1].weight)
    model = BayesianNetwork(net)
    guide = make(model)
    loss_of = VariationalDropoutELBO(0.0)(model, guide)
    loss_of(X, Y).backward()
    assert not guide.site("0.weight").theta.grad.any()
    fit(guide, (X, Y), epochs=3 * LOOKS, batch_size=24, progress=False)
    assert not caplog.records


def test_passes_without_a_backward_pass_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    model = BayesianNetwork(Net(plainly))
    loss_of = VariationalDropoutELBO()(model, VariationalDropout(model))
    for _ in range(3 * LOOKS):
        loss_of(X, Y)
    assert not caplog.records
