"""The ways on which a forward pass may reach a weight: each is trained, or it is refused."""

from __future__ import annotations

import copy
import functools
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from forward_pass_support import Net, X, Y, plainly
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
from pyro_vd.guides import PointEstimate
from pyro_vd.inference.reparam import LocalReparameterization


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


class Straight(torch.autograd.Function):
    """A function that asks no tensor type what to do; its backward pass is that of half the weight."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return weight * 0.5

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * 0.5


class OwnLinear(torch.autograd.Function):
    """A linear map with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradients[0] @ weight, gradients[0].T @ x


def slope(net: Any, x: Tensor) -> Tensor:
    """The network's output and its derivative by the input, as in a network of physics."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(plainly(net, x).square().sum(), x, create_graph=True)
    return plainly(net, x) + found[:, :3]


REACHED = {
    "a custom function": Net(lambda n, x: n.b(F.linear(x, Straight.apply(n.a.weight)).relu())),
    "a custom linear map": Net(lambda n, x: n.b(OwnLinear.apply(x, n.a.weight).relu())),
    "vmap": Net(lambda n, x: torch.func.vmap(lambda row: plainly(n, row))(x)),
    "a Jacobian": Net(lambda n, x: torch.func.vmap(torch.func.jacrev(lambda row: plainly(n, row).sum()))(x)[:, :3]),
    "its own gradient": Net(slope),
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


def test_a_derivative_in_the_forward_pass_has_the_variance_of_drawn_weights() -> None:
    """The derivative of a drawn output by its input would be another one: its variance grows where inputs are near 0."""
    torch.manual_seed(0)

    def forward(net: Any, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(net.a(x).sum(), x, create_graph=True)[0] + 0 * net.b(x).sum()

    model = BayesianNetwork(Net(forward))
    guide = VariationalDropout(model, log_sigma2=-2.0)
    draws = 1000
    found = []
    for _ in range(draws):
        with LocalReparameterization():
            found.append(model.output(guide(X), X[:3]).detach())
    variance = 6 * math.exp(-2.0)  # of a sum of 6 entries of the weight
    assert ((torch.stack(found).var(0) - variance).abs() < 5 * variance * math.sqrt(2 / draws)).all()


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
