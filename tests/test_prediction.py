"""The Monte Carlo predictive: its draws, all at once, and what they disagree about."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd import (
    MLP,
    BayesianNetwork,
    Bernoulli,
    BernoulliDropout,
    InputError,
    Normal,
    PointEstimate,
    VariationalDropout,
    evaluate,
    mean_network,
    predict,
    predictive,
)
from pyro_vd.posterior import log_predictive_draws, output_draws
from pyro_vd.prediction import Prediction
from pyro_vd.sampling import joint_draws
from pyro_vd.storage import as_json
from pyro_vd.tables import print_networks


def noisy_pair(net: nn.Module | None = None) -> tuple[BayesianNetwork, VariationalDropout]:
    model = BayesianNetwork(net) if net else MLP((6, 8, 4))
    return model, VariationalDropout(model, log_sigma2=-1.0)


def test_mutual_information_is_what_draws_disagree_about() -> None:
    x = torch.randn(40, 6)
    certain = PointEstimate(model := MLP((6, 8, 4)))
    assert predict(model, x, guide=certain).mutual_information.abs().max() < 1e-12
    found = predict(*(pair := noisy_pair())[:1], x, guide=pair[1])
    assert (found.mutual_information > 1e-3).all()
    assert (found.mutual_information < found.entropy).all()
    assert (found.entropy < math.log(4)).all()
    assert predict(pair[0], x, guide=pair[1], num_samples=1).mutual_information.max() == 0
    assert predict(nn.Linear(6, 3), x).mutual_information is None
    # Two equally likely weights, each sure of another class: all the entropy is mutual information.
    sure = torch.tensor([[[0.0, -math.inf]], [[-math.inf, 0.0]]])
    assert Prediction.of_draws(sure).mutual_information.item() == pytest.approx(math.log(2))


def test_draws_at_once_are_those_of_a_loop() -> None:
    """The noise of all draws comes at once, layer by layer; a loop over the draws with the same noise gives the same."""
    model, guide = noisy_pair()
    x, draws = torch.randn(7, 6), 5
    torch.manual_seed(3)
    found = log_predictive_draws(model, guide, x, draws)
    torch.manual_seed(3)
    torch.randn(1, 8), torch.randn(1, 4)  # of the one example that is tried first
    noise = [torch.randn(draws, 7, 8), torch.randn(draws, 7, 4)]
    for draw in range(draws):
        h = x
        for layer, (name, bias) in enumerate((("1.weight", model.net[1].bias), ("3.weight", model.net[3].bias))):
            q = guide.posterior(name)
            h = F.linear(h, q.theta, bias) + F.linear(h**2, q.variance).sqrt() * noise[layer][draw]
            h = h if layer else h.relu()
        torch.testing.assert_close(found[draw], h.double().log_softmax(-1), rtol=1e-5, atol=1e-5)


class Branching(nn.Module):
    """Decides by a value, which ``torch.vmap`` does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x)
        return out if out.sum() > 0 else out + 1


class Tied(nn.Module):
    """One weight used twice, so drawn once a draw."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())[:, :4]


NETS: dict[str, Callable[[], nn.Module]] = {
    "layers": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)),
    "tied": Tied,
    "branch": Branching,
}


@pytest.mark.parametrize(("net", "dropout"), [("layers", False), ("layers", True), ("tied", False), ("branch", False)])
def test_draws_are_distributed_as_with_drawn_weights(net: str, dropout: bool) -> None:
    model, guide = noisy_pair(NETS[net]())
    if dropout:
        guide = BernoulliDropout(model, 0.4)
    x, count = torch.randn(3, 6), 3000 if net != "branch" else 600
    found = log_predictive_draws(model, guide, x, count).exp()
    _, joint = joint_draws(model, guide, (x, torch.zeros(3, dtype=torch.long)), count, keep=lambda _: {})
    for power in (1, 2):
        a, b = found**power, joint["probability"].double() ** power
        error = ((a.var(0) + b.var(0)) / count).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4.5 * error).all()
    neighbours = torch.corrcoef(torch.stack([found[1:, 0, 0], found[:-1, 0, 0]]))[0, 1]
    assert abs(neighbours) < 4.5 / math.sqrt(count), "draws are independent"


def test_zeros_and_ones_are_two_classes_and_numbers_are_none() -> None:
    model = BayesianNetwork(nn.Linear(6, 3), Bernoulli())
    guide, x = VariationalDropout(model, log_sigma2=-1.0), torch.randn(10, 6)

    torch.manual_seed(1)
    p = output_draws(model, guide, x, 50).double().sigmoid().mean(0)
    torch.manual_seed(1)
    found = predict(model, x, guide=guide, num_samples=50)
    torch.testing.assert_close(found.log_p.exp(), torch.stack([1 - p, p], -1).flatten(0, 1))
    assert (found.mutual_information > 0).all()
    torch.manual_seed(1)
    torch.testing.assert_close(predictive(model, guide, x, 50).double(), p, rtol=1e-6, atol=1e-6)
    plain = mean_network(model, guide)
    one = predict(plain, x, likelihood=model.likelihood).log_p[:, 1]
    torch.testing.assert_close(one, plain(x).double().sigmoid().log().flatten())
    with pytest.raises(InputError, match="probabilities are of classes"):
        predict(plain, x, likelihood=Normal())


def test_evaluate_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    model, guide = noisy_pair()
    data = torch.randn(50, 6), torch.randint(4, (50,))
    metrics = evaluate(model, data, guide=guide, num_samples=200)
    predicted = predict(model, data[0], guide=guide, num_samples=200)
    assert metrics.entropy == pytest.approx(predicted.entropy.mean().item(), rel=0.02)
    assert predicted.mutual_information is not None
    assert metrics.mutual_information == pytest.approx(predicted.mutual_information.mean().item(), rel=0.05)
    plain = evaluate(nn.Linear(6, 4), data)
    assert (plain.mutual_information, plain.entropy > 0) == (None, True)
    new = json.loads(as_json({"Monte Carlo": asdict(metrics), "plain": asdict(plain)}))
    old = {key: value for key, value in new["plain"].items() if key not in ("entropy", "mutual_information", "ece_equal_mass")}
    print_networks("runs", {**new, "by an earlier version": old})
    lines = {line[:22].strip(): line[22:].split() for line in capsys.readouterr().out.splitlines()}
    assert [lines[name].count("–") for name in (*new, "by an earlier version")] == [0, 1, 3]
    assert f"{metrics.mutual_information:.3f}" in lines["Monte Carlo"]


@pytest.mark.parametrize(
    ("x", "quoted"),
    [
        (torch.rand(5, 7), r"x: inputs of shape \(7,\) do not fit"),
        (torch.rand(4), r"x: inputs of shape \(4,\)"),
        (torch.rand(0, 4), r"x: inputs of shape \(0, 4\)"),
        (torch.rand(5, 4).double(), "x: inputs of type torch.float64, a network of torch.float32"),
        (torch.ones(5, 4, dtype=torch.int64), r"x: inputs of shape \(4,\) do not fit the network: .*Long"),
        (torch.tensor([[1.0, 2, 3, 4], [1, math.nan, 3, math.inf]]), "x: 2 NaN or infinite inputs, the first in example 1"),
        ({"x": [1.0]}, "x is a dict"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: Any, quoted: str) -> None:
    model = MLP([4, 5, 3])
    guide = VariationalDropout(model)
    for call in (
        lambda: predict(mean_network(model, guide), x),
        lambda: predict(model, x, guide=guide),
        lambda: predictive(model, guide, x),
    ):
        with pytest.raises(InputError, match=quoted):
            call()


def test_whole_numbers_are_inputs_of_a_network_that_takes_them() -> None:
    net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2))
    x = torch.randint(0, 10, (5, 3))
    assert predict(net, x).log_p.shape == (5, 2)
    model = BayesianNetwork(net)
    p = predictive(model, VariationalDropout(model), x)
    torch.testing.assert_close(p.sum(1), torch.ones(5))
