"""How many examples run at a time: measured bytes, a bounded peak in a process of its own, networks that want all at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support import python
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, predict
from pyro_vd.evaluation.memory import BYTES_ON_CPU, MOST_ROWS, PeakBytes, bytes_per_example, draws_at_once, rows_at_once
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.evaluation.scores import expected

CPU = torch.device("cpu")


def test_bytes_are_counted_while_they_live() -> None:
    x, w = torch.ones(100, 10), torch.ones(10, 50)
    with PeakBytes() as measured:
        y = x @ w
        del y
        y = (x @ w).t().contiguous()
        del y
    assert measured.peak == 2 * 100 * 50 * 4, "of the product and the transposed copy of it"
    with PeakBytes() as views:
        x.view(10, 100).t()[:3]
    assert views.peak == 0, "of what was there before"


class Deep(nn.Module):
    """Functions rather than modules; the bytes of one step at a time are in use."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(10):
            x = torch.nn.functional.pad(x, (0, 1000)).sin()[:, : x.shape[1]].clone()
        return x


def test_of_what_a_network_does_whatever_it_is_made_of() -> None:
    x = torch.rand(5, 24)
    each = bytes_per_example(lambda k: Deep()(x[:k]), 5)
    assert each is not None
    assert 2 * 1024 * 4 <= each <= 2 * 1024 * 4 + 2 * 24 * 4
    big = nn.Linear(10, 1000)
    assert rows_at_once(lambda k: big(torch.rand(k, 10)), 10**6, CPU) == MOST_ROWS
    wide = nn.Linear(10, 1_000_000)
    assert rows_at_once(lambda k: wide(torch.rand(k, 10)), 10**6, CPU) == 4 == BYTES_ON_CPU // 4_000_000
    assert draws_at_once(lambda k: torch.ones(k, 1), 50, CPU, weights=10**3) == (16, 50)
    assert draws_at_once(lambda k: torch.ones(k, 1), 50, CPU, weights=10**7) == (1, 50)


class Graph(nn.Module):
    """Each node's output depends on its neighbours', and the number of nodes is fixed."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("edges", torch.rand(n, n))

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.edges) @ self.linear(x)


class Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x - x.mean(0))


N = 3000
TOGETHER: dict[str, Callable[[], nn.Module]] = {
    "no-statistics": lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)),
    "centred": Centred,
    "graph": lambda: Graph(N),
}


@pytest.mark.parametrize("net", ["no-statistics", "centred", "graph"])
def test_networks_whose_examples_cannot_be_run_apart_get_all_at_once(net: str) -> None:
    torch.manual_seed(0)
    module, x = TOGETHER[net]().eval(), torch.randn(N, 4)
    with torch.no_grad():
        assert torch.equal(outputs(module, x), module(x))
    model = BayesianNetwork(module)
    guide = VariationalDropout(model, -30.0)
    p = guide.predictor(2).means(x, None, lambda found, _: {"mean": expected(found)})["mean"]
    torch.testing.assert_close(p.float(), module(x).softmax(-1).detach(), rtol=1e-3, atol=1e-4)


def test_a_network_that_is_random_is_not_taken_for_one_of_them() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.dropout(x.repeat(1, 1000), training=True)

    state = torch.get_rng_state()
    assert rows_at_once(lambda k: Noisy()(torch.ones(k, 1000)), 5000, CPU) < 10
    assert torch.equal(torch.get_rng_state(), state)


PEAK = """
import resource, torch
from torch import nn
from pyro_vd import BayesianNetwork, VariationalDropout, predict
from pyro_vd.evaluation.predictors import outputs

layers = nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)
model = BayesianNetwork(net := nn.Sequential(*layers))
guide, x = VariationalDropout(model), torch.rand(1000, 1, 48, 48)
def run(x):
    outputs(net, x), predict(guide, x, num_samples=2)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
run(x[:4])
before = peak()
run(x)
print(peak() - before)
"""


@pytest.mark.slow
def test_the_peak_of_a_convolutional_network_stays_bounded() -> None:
    """All images at once would need 2 · 16 · 46² · 4 bytes each, 270 MB."""
    result = python(PEAK)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 80


def test_pieces_do_not_change_predictions() -> None:
    model = BayesianNetwork(
        nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    )
    guide, x = VariationalDropout(model, -4.0), torch.rand(40, 64)
    found = []
    for rows in (1, 3, 2048):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pyro_vd.evaluation.memory.MOST_ROWS", rows)
            torch.manual_seed(2)
            found.append(predict(guide, x, num_samples=5).log_p)
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], found[2], rtol=1e-4, atol=1e-5)
