"""Error, likelihood, ranking, calibration and size, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from support import refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, evaluate, posterior_mean
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.evaluation.score import score_of
from pyro_vd.guides import PointEstimate
from pyro_vd.models import MLP
from pyro_vd.networks.sizes import compression, layer_sizes
from pyro_vd.posterior import predictive


class Fixed(nn.Module):
    """Gives its input as logits: the metrics of any probabilities can be asked for."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def of(probabilities: Tensor, y: list[int]) -> tuple[Tensor, Tensor]:
    """Data on which :class:`Fixed` predicts these probabilities."""
    return probabilities.log(), torch.tensor(y)


def test_by_hand() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.85, 0.05], [0.5, 0.3, 0.2], [0.3, 0.3, 0.4]])
    metrics = evaluate(Fixed(), of(p, [0, 1, 2, 2]))
    assert metrics.error == pytest.approx(1 / 4)
    assert metrics.nll == pytest.approx(-(math.log(0.7) + math.log(0.85) + math.log(0.2) + math.log(0.4)) / 4, rel=1e-6)
    brier = (0.09 + 0.04 + 0.01) + (0.01 + 0.0225 + 0.0025) + (0.25 + 0.09 + 0.64) + (0.09 + 0.09 + 0.36)
    assert metrics.brier == pytest.approx(brier / 4, rel=1e-6)
    # One example a bin: |confidence − correct| of each, a quarter of the weight.
    assert metrics.ece == pytest.approx((0.3 + 0.15 + 0.5 + 0.6) / 4, rel=1e-5)
    # Each class against the rest: the share of pairs, one of the class and one not, ranked right.
    assert metrics.roc_auc == pytest.approx(1.0)
    swapped = evaluate(Fixed(), of(p, [2, 1, 0, 2]))
    assert swapped.roc_auc == pytest.approx((2 / 3 + 1 + 3 / 4) / 3, rel=1e-6)


def test_against_scikit_learn() -> None:
    p = torch.randn(300, 5).softmax(-1)
    y = torch.multinomial(p, 1)[:, 0]
    metrics = evaluate(Fixed(), of(p, y.tolist()))
    assert metrics.nll == pytest.approx(log_loss(y, p.double() / p.double().sum(-1, keepdim=True)), rel=1e-5)
    assert metrics.roc_auc == pytest.approx(roc_auc_score(y, p.double() / p.double().sum(-1, keepdim=True), multi_class="ovr"))
    two = torch.randn(50, 2).softmax(-1)
    labels = (torch.rand(50) < 0.5).long()
    assert evaluate(Fixed(), of(two, labels.tolist())).roc_auc == pytest.approx(roc_auc_score(labels, two[:, 1]))


def test_calibration_error_of_several_examples_a_bin() -> None:
    p = torch.tensor([[0.9, 0.1]] * 10 + [[0.3, 0.7]] * 5)
    metrics = evaluate(Fixed(), of(p, [0] * 6 + [1] * 4 + [1] * 5))
    assert metrics.ece == pytest.approx((10 * abs(0.9 - 0.6) + 5 * abs(0.7 - 1.0)) / 15, rel=1e-5)


def test_perfect_and_constant_predictors() -> None:
    y = list(range(4)) * 5
    perfect = evaluate(Fixed(), (60.0 * torch.eye(4)[torch.tensor(y)], torch.tensor(y)))
    assert (perfect.error, perfect.roc_auc) == (0, 1)
    assert max(perfect.nll, perfect.ece, perfect.brier) < 1e-6
    constant = evaluate(Fixed(), (torch.zeros(20, 4), torch.tensor(y)))
    assert constant.error == pytest.approx(0.75)
    assert constant.nll == pytest.approx(math.log(4), rel=1e-6)
    assert constant.roc_auc == pytest.approx(0.5)
    assert constant.brier == pytest.approx(0.75, rel=1e-6)
    assert constant.ece == pytest.approx(0.0, abs=1e-6), "a quarter is right, with a confidence of a quarter"


def test_certain_and_wrong() -> None:
    metrics = evaluate(Fixed(), (torch.tensor([[500.0, -500.0], [0.0, 1.0]]), torch.tensor([1, 1])))
    assert math.isfinite(metrics.nll)
    assert metrics.nll > 40


def test_missing_class_has_no_auc() -> None:
    assert evaluate(Fixed(), (torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1]))).roc_auc is None


def test_sizes() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].weight[0] = 0
        net[2].weight[1] = 0
        net[2].bias.zero_()
    first, second = layer_sizes(net)
    assert (first.site, first.weights, first.nonzero, first.sparsity) == ("0.weight", 18, 9, 0.5)
    assert (second.site, second.weights, second.nonzero) == ("2.weight", 24, 16)
    assert second.sparsity == pytest.approx(1 / 3)
    assert compression(net) == pytest.approx(42 / 25), "biases are not counted"
    metrics = evaluate(net, (torch.randn(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])))
    assert (metrics.compression, metrics.layers) == (compression(net), (first, second))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    assert compression(net) == math.inf


def test_shared_weight_is_counted_once() -> None:
    layer = nn.Linear(3, 3)
    assert [size.weights for size in layer_sizes(nn.Sequential(layer, nn.ReLU(), layer))] == [9]


def test_monte_carlo_is_the_mean_network_where_sigma_is_tiny() -> None:
    model = MLP((6, 8, 3))
    guide = VariationalDropout(model, log_sigma2=-40)
    data = torch.randn(50, 6), torch.randint(3, (50,))
    sampled, mean = evaluate(guide, data, num_samples=3), evaluate(posterior_mean(guide), data)
    assert sampled.nll == pytest.approx(mean.nll, rel=1e-5)
    assert sampled.layers == mean.layers
    wide = evaluate(VariationalDropout(model, log_sigma2=0.0), data, num_samples=50)
    assert abs(wide.nll - mean.nll) > 1e-3, "with noise it is not"


def test_monte_carlo_averages_probabilities() -> None:
    """w ~ N(0, 1) with logits (w, −w): each draw is certain or not, their mean is one half."""
    net = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(net.weight)
    model = BayesianNetwork(net)
    guide = VariationalDropout(model, log_sigma2=0.0)
    data = torch.full((400, 1), 5.0), torch.tensor([0, 1] * 200)
    many = evaluate(guide, data, num_samples=300)
    assert many.nll == pytest.approx(math.log(2), abs=0.01)
    single = [evaluate(guide, data, num_samples=1).nll for _ in range(40)]
    assert sum(single) / 40 > 2, "a single draw is overconfident"


def test_predictive_is_a_distribution() -> None:
    model = MLP((6, 8, 3))
    p = predictive(VariationalDropout(model), torch.randn(8, 6), num_samples=5)
    assert p.shape == (8, 3)
    torch.testing.assert_close(p.sum(-1), torch.ones(8))
    assert not p.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_mode_is_restored_and_evaluation_is_without_dropout(training: bool) -> None:
    net = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.Linear(50, 3)).train(training)
    data = torch.randn(20, 4), torch.randint(3, (20,))
    assert torch.equal(outputs(net, data[0]), outputs(net, data[0]))
    assert evaluate(net, data) == evaluate(net, data)
    assert net.training is training
    assert net[1].training is training
    model = BayesianNetwork(net).train(training)
    guide = PointEstimate(model)
    assert evaluate(guide, data, num_samples=1) == evaluate(guide, data, num_samples=1)
    assert torch.equal(predictive(guide, data[0], 1), predictive(guide, data[0], 1))
    assert model.training is training


def test_large_data_in_batches() -> None:
    data = torch.randn(5000, 3), torch.randint(3, (5000,))
    assert score_of(Fixed(), data).value == pytest.approx((data[0].argmax(-1) != data[1]).double().mean().item())
    assert torch.equal(outputs(Fixed(), data[0]), data[0])


@pytest.mark.parametrize(
    ("x", "y", "value"),
    [
        (torch.randn(3, 4), [0, 1, 4], 4),
        (torch.randn(3, 4), [0, 1, -1], -1),
        (torch.randn(3, 4), [0, 1], (3, 2)),
        (torch.randn(0, 4), [], (0, 4)),
        (torch.randn(3, 4), [0.0, 1.0, 2.0], torch.float32),
    ],
)
def test_data_that_do_not_fit(x: Tensor, y: list[float], value: object) -> None:
    mentioned = value if value == (3, 2) else [str(value).removeprefix("torch.")]
    with refuses("data", value, *mentioned):
        evaluate(Fixed(), (x, torch.tensor(y, dtype=torch.long if not y else None)))


def test_networks_that_do_not_fit() -> None:
    data = torch.randn(3, 4), torch.tensor([0, 1, 2])
    with refuses("data", (4,), "(4,)"):
        evaluate(nn.Linear(5, 3), data)
    model = MLP((4, 3))
    with refuses("net", model, "evaluate", "MLP", "VariationalDropout(model)"):
        evaluate(model, data)
    with refuses("net", 3):
        evaluate(nn.Sequential(Fixed(), nn.Threshold(1e9, math.nan)), data)
    with refuses("num_samples", 0):
        evaluate(VariationalDropout(model), data, num_samples=0)
