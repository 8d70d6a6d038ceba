"""What a network's own code may do with its weights in a forward pass: it works as in the plain network, or is refused."""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
import torch.nn.functional as F
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, compact, fit, predict, prune
from pyro_vd.distributions import MultiplicativeNormal
from pyro_vd.guides import BernoulliDropout, PointEstimate
from pyro_vd.inference import LocalReparameterization
from pyro_vd.inference.reparam import GaussianWeight
from pyro_vd.models.gradient_watch import LOOKS

X, Y = torch.randn(24, 6, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3


class Net(nn.Module):
    """Two layers; ``forward`` is what a test gives, and ``prepare`` what it does at construction."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], prepare: Callable[[Any], object] = lambda net: None) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)
        self.of = forward
        prepare(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.of(self, x)


def plainly(net: Any, x: Tensor) -> Tensor:
    return net.b(net.a(x).relu())


def own_list(net: Any) -> None:
    net.w = [net.a.weight, {"b": (net.b.weight,)}]


def own_modules(net: Any) -> None:
    net.layers = [net.a, net.b]


def own_method(net: Any) -> None:
    net.first = net.a.forward


def own_partial(net: Any) -> None:
    net.first = functools.partial(F.linear, weight=net.a.weight, bias=net.a.bias)


def hook(net: Any) -> None:
    net.seen = []
    net.a.register_forward_hook(net.scale)


class Hooked(Net):
    def scale(self, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output * self.b.weight.sum()


REACHED = {
    "a list of weights": Net(lambda n, x: F.linear(F.linear(x, n.w[0]).relu(), n.w[1]["b"][0]), own_list),
    "a list of modules": Net(lambda n, x: n.layers[1](n.layers[0](x).relu()), own_modules),
    "a bound method": Net(lambda n, x: n.b(n.first(x).relu()), own_method),
    "a partial function": Net(lambda n, x: n.b(n.first(x).relu()), own_partial),
    "a hook": Hooked(lambda n, x: n.b(n.a(x).relu()), hook),
    "the parameters": Net(lambda n, x: plainly(n, x.to(next(n.parameters()))) + sum(p.norm() for p in n.parameters())),
    "named parameters": Net(lambda n, x: F.linear(plainly(n, x), dict(n.named_parameters())["b.weight"][:, :3])),
    "metadata": Net(lambda n, x: plainly(n, x[:, : n.a.weight.stride(0)]) * n.a.weight.is_contiguous() * n.b.weight.dim()),
    "its data": Net(lambda n, x: plainly(n, x) / n.a.weight.data.abs().max()),
}


def trained(net: nn.Module, make: Callable[[BayesianNetwork], Any]) -> tuple[BayesianNetwork, Any, dict[str, Tensor]]:
    model = BayesianNetwork(net)
    guide = make(model)
    VariationalDropoutELBO(0.0)(model, guide)(X, Y).backward()
    return model, guide, {name: guide.site(name).theta.grad for name in guide.site_names}


@pytest.mark.parametrize("make", [PointEstimate, functools.partial(VariationalDropout, log_sigma2=-30.0)])
@pytest.mark.parametrize("how", REACHED)
def test_every_way_to_a_weight_is_trained(how: str, make: Callable[[BayesianNetwork], Any]) -> None:
    net = REACHED[how]
    plain = copy.deepcopy(net)
    F.cross_entropy(plain(X), Y, reduction="sum").backward()
    model, guide, gradients = trained(net, make)
    for name, parameter in plain.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        for name in guide.site_names:
            guide.site(name).theta.mul_(0.5)
    out = model.to_module({name: guide.mean(name) for name in guide.site_names})
    with torch.no_grad():
        for parameter in (plain.a.weight, plain.b.weight):
            parameter.mul_(0.5)
    torch.testing.assert_close(out(X), plain(X))


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


def test_metadata_leaves_local_reparameterization_on() -> None:
    seen: list[float] = []

    def forward(net: Any, x: Tensor) -> Tensor:
        weight = net.a.weight
        assert weight.stride() == (6, 1)
        assert weight.is_contiguous()
        assert (weight.storage_offset(), weight.element_size(), weight.is_complex(), weight.is_sparse) == (0, 4, False, False)
        h = net.a(x)
        seen.append((h[0] - h[1]).norm().item())  # rows of equal input differ by their noise alone
        return net.b(h.relu())

    model = BayesianNetwork(Net(forward))
    guide = VariationalDropout(model, log_sigma2=-1.0)
    same = X[:1].expand(24, 6)
    VariationalDropoutELBO()(model, guide)(same, Y)
    assert seen[-1] > 0.1


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")  # deprecated, and still in use
def test_a_weight_that_goes_where_nothing_is_seen_is_drawn() -> None:
    @torch.jit.script
    def product(x: Tensor, w: Tensor) -> Tensor:
        return x @ w.t()

    model = BayesianNetwork(Net(lambda n, x: n.b(product(x, n.a.weight).relu())))
    guide = VariationalDropout(model, log_sigma2=-1.0)
    loss_of = VariationalDropoutELBO()(model, guide)
    assert len({loss_of(X, Y).item() for _ in range(5)}) == 5
    loss_of(X, Y).backward()
    assert guide.site("a.weight").theta.grad.any()


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


def beside(how: str) -> nn.Module:
    """A network that reaches its first layer past its own modules, where a copy keeps hold of the original's."""
    net = Net(plainly)
    held = net.a
    if how == "a closure":
        net.of = lambda n, x: n.b(held(x).relu())
    elif how == "a weak reference":
        net.reference = weakref.ref(held)
        net.of = lambda n, x: n.b(n.reference()(x).relu())
    elif how == "a compiled method":
        net.run = torch.compile(held.forward, backend="eager")
        net.of = lambda n, x: n.b(n.run(x).relu())
    elif how == "a hook":
        net.b.register_forward_hook(lambda module, given, output: output + held(given[0])[:, :3])
    elif how == "a cache":
        net.run = functools.lru_cache(held.forward)
        net.of = lambda n, x: n.b(n.run(x).relu())
    return net


@pytest.mark.parametrize("make", [PointEstimate, VariationalDropout])
@pytest.mark.parametrize("how", ["a closure", "a weak reference", "a compiled method", "a hook", "a cache"])
def test_parameters_of_no_module_of_its_own_are_refused(how: str, make: Callable[[BayesianNetwork], Any]) -> None:
    net = beside(how)
    model = BayesianNetwork(net)
    with refuses(ANYTHING, ANYTHING, (6, 6)):
        VariationalDropoutELBO()(model, make(model))(X, Y)


@pytest.mark.parametrize("make", [PointEstimate, VariationalDropout])
def test_references_follow_a_conversion(make: Callable[[BayesianNetwork], Any]) -> None:
    model = BayesianNetwork(REACHED["a list of weights"])
    model.double().float()
    guide = make(model)
    with torch.no_grad():
        for name in guide.site_names:
            guide.site(name).theta.add_(1)
    VariationalDropoutELBO(0.0)(model, guide)(X, Y).backward()
    assert guide.site("a.weight").theta.grad.any()
    plain = model.to_module({name: guide.mean(name) for name in guide.site_names})
    assert plain.w[0] is plain.a.weight
    model.double()
    assert model.output({name: guide.mean(name).double() for name in guide.site_names}, X.double()).dtype == torch.float64


QUESTIONS: dict[str, Callable[[Any, Tensor], object]] = {
    "type_as": lambda n, x: x.type_as(n.a.weight),
    "to": lambda n, x: x.to(n.a.weight),
    "new_zeros": lambda n, x: n.a.weight.new_zeros(3),
    "zeros_like": lambda n, x: torch.zeros_like(n.a.weight),
    "result_type": lambda n, x: torch.result_type(x, n.a.weight),
    "grad": lambda n, x: n.a.weight.grad is None,
    "grad_fn": lambda n, x: n.a.weight.grad_fn,
    "data_ptr": lambda n, x: n.a.weight.data_ptr(),
    "requires_grad_": lambda n, x: n.a.requires_grad_(True),
    "zero_grad": lambda n, x: n.zero_grad(),
    "is_shared": lambda n, x: n.a.weight.is_shared(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_leaves_local_reparameterization_on(question: str) -> None:
    net = Net(lambda n, x: (QUESTIONS[question](n, x), plainly(n, x))[1])
    model = BayesianNetwork(net).train()
    assert not model.watch_use(X).to_draw(model.weight_names)
    guide = VariationalDropout(model)
    VariationalDropoutELBO()(model, guide)(X, Y).backward()
    assert guide.site("a.weight").theta.grad.any()


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


def test_a_question_for_the_type_is_none_for_another_type() -> None:
    q = MultiplicativeNormal(torch.ones(3, 5), torch.zeros(3, 5))
    assert GaussianWeight(q.theta, q.variance).type() == "torch.FloatTensor"
    weight = GaussianWeight(q.theta, q.variance)
    assert torch.equal(weight.type(torch.float64), weight.draw().double())


def test_integers_and_what_stands_before_the_first_layer() -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.a, self.b = nn.LayerNorm(6), nn.Linear(6, 4), nn.Linear(4, 3)
            self.index = nn.Parameter(torch.arange(6), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(x[:, self.index])
            return self.b(self.a(h if h.sum() > -1e9 else -h).relu())

    model = BayesianNetwork(First())
    with torch.inference_mode():
        VariationalDropoutELBO().loss(model, BernoulliDropout(model, 0.5), X.clone(), Y)
    assert [model.reads_data(name) for name in ("a.weight", "b.weight")] == [True, False]
    fit(BernoulliDropout(model, 0.5), (X, Y), epochs=1, progress=False)


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
