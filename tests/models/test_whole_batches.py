"""Networks and likelihoods are tried on a batch of the training, in both modes, and stay as they were."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit
from pyro_vd.evaluation.checks import check_inputs, check_network
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Normal
from pyro_vd.models.data_checks import check_data

N = 48
X, Y = torch.randn(N, 6, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 3
Heads = namedtuple("Heads", ["logits", "auxiliary"])


class Graph(nn.Module):
    """A network that averages over neighbours: its rows are the nodes of one graph."""

    def __init__(self, nodes: int = N, outputs: int = 3) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, outputs)
        self.register_buffer("a", torch.eye(nodes) / 2 + torch.eye(nodes).roll(1, 0) / 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.a @ self.last((self.a @ self.first(x)).relu())


class Auxiliary(nn.Module):
    """A network with one more head in training mode."""

    def __init__(self, answer: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.head, self.answer = nn.Linear(6, 3), nn.Linear(6, 3), answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.inner(x), self.head(x)) if self.training else self.inner(x)


class Squeezed(nn.Linear):
    """A layer that returns a column as ``(n,)``, and one example as a number."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


class PerExample(nn.Module):
    """A likelihood with a known scale for each example of the whole data set."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1, N))

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Normal(output[:, 0], self.scale, validate_args=False)


def without_statistics() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3))


WHOLE: dict[str, tuple[Callable[[], nn.Module], Any, Tensor]] = {
    "graph": (Graph, None, Y),
    "graph of numbers": (lambda: Graph(outputs=1), Normal, X[:, 0]),
    "batch normalisation without statistics": (without_statistics, None, Y),
    "squeezed": (lambda: Squeezed(6, 1), Normal, X[:, 0]),
    "likelihood of all": (lambda: nn.Linear(6, 1), PerExample, X[:, 0]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_network_that_needs_the_whole_batch_is_trained(name: str) -> None:
    make, likelihood, y = WHOLE[name]
    net = make()
    model = BayesianNetwork(net, likelihood and likelihood())
    guide = VariationalDropout(model)
    result = fit(guide, (X, y), (X, y), epochs=2, progress=False)
    assert result.skipped == 0
    assert torch.equal(check_network("data", (X, y), net, model.observed)[0], X)
    check_inputs("x", X, net)


@pytest.mark.parametrize(
    ("batch_size", "n", "size"), [(20, N, 20), (N - 1, N, N - 1), (N, N + 10, 10), (100, N + 1, N + 1), (1, N, 1)]
)
def test_a_batch_that_does_not_fit_is_refused_before_the_first_epoch(batch_size: int, n: int, size: int) -> None:
    model = BayesianNetwork(Graph())
    x, y = torch.randn(n, 6), torch.arange(n) % 3
    data = ("training data", size) if size != n else ("training data",)
    with refuses(ANYTHING, ANYTHING, *data) as refusal:
        fit(PointEstimate(model), (x, y), epochs=1, batch_size=batch_size, progress=False)
    if (batch_size, n) == (N, N + 10):
        for text in (f"{n} examples", f"batch_size (={batch_size})", f" {size}", f"batch_size={n}"):
            assert text in str(refusal.value)


def test_a_likelihood_that_does_not_fit_is_named() -> None:
    with refuses(ANYTHING, ANYTHING, "data: ", "(40, 1)", "likelihood", "The size of tensor"):
        check_data("data", (X[:40], X[:40, 0]), BayesianNetwork(nn.Linear(6, 1), PerExample()))


ANSWERS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda inner, head: (inner, head),
    "Heads": Heads,
    "dict": lambda inner, head: {"logits": inner, "auxiliary": head},
    "list": lambda inner, head: [inner, head],
    "NoneType": lambda inner, head: None,
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("kind", ANSWERS)
def test_other_outputs_in_training_mode_are_refused(kind: str, inside: bool) -> None:
    net: nn.Module = Auxiliary(ANSWERS[kind])
    model = BayesianNetwork(nn.Sequential(net) if inside else net)
    guide = PointEstimate(model)
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    with refuses(ANYTHING, ANYTHING, f" {kind};", "aux_logits=False"):
        fit(guide, (X, Y), epochs=1, progress=False)
    assert all(torch.equal(before[name], value) for name, value in guide.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_shape_of_its_own_in_training_mode_is_refused() -> None:
    model = BayesianNetwork(Auxiliary(lambda inner, head: torch.stack([inner, head])))
    with refuses("likelihood", (2,), "(48,)"):
        fit(PointEstimate(model), (X, Y), epochs=1, progress=False)


def test_an_error_in_training_mode_only_is_one_sentence() -> None:
    model = BayesianNetwork(Auxiliary(lambda inner, head: inner + head[:, :2]))
    with refuses(ANYTHING, ANYTHING, "The size of tensor a (3)"):
        fit(PointEstimate(model), (X, Y), epochs=1, progress=False)
