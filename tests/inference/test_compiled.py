"""``torch.compile``: of the loss, the model, the guide or the network, it changes no distribution, and is seen through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropout, VariationalDropoutELBO, compact, fit, prune
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import BernoulliDropout

# torch's own, where it resumes after what it leaves uncompiled
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor"),
    pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0"),  # of torch, of that Python alone
]

X, Y = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


GUIDES: dict[str, Callable[[BayesianNetwork], Any]] = {
    "variational": lambda model: VariationalDropout(model, log_sigma2=-1.0),
    "group": lambda model: GroupVariationalDropout(model, log_sigma2=-1.0),
    "bernoulli": lambda model: BernoulliDropout(model, 0.5),
}


@pytest.mark.parametrize("kind", GUIDES)
def test_a_compiled_loss_is_the_loss_at_every_call(kind: str) -> None:
    model = BayesianNetwork(mlp(), **({"prior": NormalJeffreys} if kind == "group" else {}))
    guide = GUIDES[kind](model)
    loss_of = VariationalDropoutELBO()(model, guide)
    pyro.set_rng_seed(2)
    wanted = [loss_of(X, Y) for _ in range(12)]
    compiled = torch.compile(loss_of, backend="eager")
    pyro.set_rng_seed(2)
    found = [compiled(X, Y) for _ in range(12)]
    assert found == wanted
    assert len({loss.item() for loss in found}) == 12
    found[-1].backward()
    assert all(parameter.grad is not None for parameter in guide.parameters())


def test_inductor_a_compiled_step_a_compiled_model_and_guide() -> None:
    model = BayesianNetwork(mlp())
    guide = VariationalDropout(model, log_sigma2=-1.0)
    loss_of = VariationalDropoutELBO()(model, guide)

    def step(x: Tensor, y: Tensor) -> Tensor:
        return loss_of(2 * x / 2, y) * 1.0

    def draw(module: nn.Module) -> list[Tensor]:
        pyro.set_rng_seed(4)
        return [module(X) for _ in range(3)]

    pyro.set_rng_seed(2)
    wanted = [step(X, Y).item() for _ in range(10)]
    pyro.set_rng_seed(2)
    assert [torch.compile(step)(X, Y).item() for _ in range(10)] == pytest.approx(wanted)
    plain, compiled = (draw(each) for each in (guide, torch.compile(guide, backend="eager")))
    assert all(torch.equal(a["0.weight"], b["0.weight"]) for a, b in zip(plain, compiled, strict=True))
    assert not torch.equal(plain[0]["0.weight"], plain[1]["0.weight"])


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.compile(nn.Sequential(nn.Linear(8, 6), nn.ReLU()), backend="eager")
        self.head = nn.Linear(6, 3)
        self.head.compile(backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@pytest.mark.parametrize("run_before", [False, True])
@pytest.mark.parametrize("make", [lambda: torch.compile(mlp(), backend="eager"), Nested], ids=["whole", "parts"])
def test_a_compiled_network_is_seen_through(make: Callable[[], nn.Module], run_before: bool) -> None:
    net = make()
    if run_before:
        net(X)
    model = BayesianNetwork(net)
    assert not any("_orig_mod" in name for name in (*model.weight_names, *model.state_dict()))
    guide = VariationalDropout(model, log_sigma2=-1.0)
    losses = VariationalDropoutELBO()(model, guide)
    assert len({losses(X, Y).item() for _ in range(10)}) == 10
    fit(guide, (X, Y), epochs=1, batch_size=10, progress=False)
    small = compact(prune(guide))
    torch.testing.assert_close(small(X), prune(guide)(X))


def test_compact_sees_through_a_compiled_plain_network() -> None:
    net = mlp()
    with torch.no_grad():
        net[0].weight[:3] = 0
        net[0].bias[:3] = 0
    small = compact(torch.compile(net, backend="eager"))
    assert isinstance(small, nn.Sequential)
    assert small[0].out_features == 3
    torch.testing.assert_close(small(X), net(X))


def test_a_function_compiled_inside_the_network() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(8, 6), nn.Linear(6, 3)
            self.product = torch.compile(lambda x, w: x @ w.t(), backend="eager")

        def forward(self, x: Tensor) -> Tensor:
            return self.outer(self.product(x, self.inner.weight).relu())

    model = BayesianNetwork(Net())
    loss_of = VariationalDropoutELBO()(model, guide := VariationalDropout(model, log_sigma2=-1.0))
    losses = [loss_of(X, Y) for _ in range(10)]
    assert len({loss.item() for loss in losses}) == 10
    losses[-1].backward()
    assert guide.site("inner.weight").theta.grad.any()
