"""Where a forward pass keeps local reparameterization of its outputs, and where weights are drawn instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from forward_pass_support import Net, X, Y, plainly
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.distributions import MultiplicativeNormal
from pyro_vd.guides import BernoulliDropout
from pyro_vd.inference.gaussian_weight import GaussianWeight


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
