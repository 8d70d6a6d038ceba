"""Measures of regressions: by hand, on simulated data, beside scikit-learn's; and the output in the targets' units."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    choose_threshold,
    compact,
    evaluate,
    load_data,
    load_pruned,
    posterior_mean,
    save_pruned,
    surviving_units,
)
from pyro_vd.compaction import unit_counts
from pyro_vd.evaluation.draws import DrawMeans, stack
from pyro_vd.evaluation.network_size import NetworkSize
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.regression import RegressionMetrics, measure_numbers
from pyro_vd.evaluation.score import score_of
from pyro_vd.evaluation.scores import number_scores
from pyro_vd.models import Bernoulli, Normal, Poisson
from pyro_vd.networks import Rescale
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.workflow.baselines import ridge_regression


class Fixed(nn.Module):
    """Gives its input as output."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def measured(draws: Tensor, y: Tensor, likelihood: Observed) -> RegressionMetrics:
    """Of draws of the output ``(S, n, …)``, taken one and then all others at a time."""
    each = [number_scores(likelihood(draw), y) for draw in draws.double()]
    means = DrawMeans()
    for part in (each[:1], each[1:]):
        if part:
            means.add(stack(part))
    return measure_numbers(means.means(), y, NetworkSize(1.0, 1.0, None, ()))


def test_by_hand() -> None:
    x, y = torch.tensor([[0.0], [1.0], [2.0], [5.0]]), torch.tensor([0.1, 0.0, 2.5, 1.0])
    metrics = evaluate(Fixed(), (x, y), likelihood=Normal(scale=0.6))
    squares = np.array([0.01, 1.0, 0.25, 16.0])
    assert isinstance(metrics, RegressionMetrics)
    assert metrics.rmse == pytest.approx(math.sqrt(squares.mean()), rel=1e-6)
    assert metrics.rmse_se == pytest.approx(squares.std() / 2 / (2 * metrics.rmse), rel=1e-6)
    assert metrics.nll == pytest.approx(squares.mean() / (2 * 0.36) + math.log(0.6 * math.sqrt(2 * math.pi)), rel=1e-6)
    assert (metrics.coverage_50, metrics.coverage_90) == (0.25, 0.5), "within 0.674 and 1.645 of 0.6"
    assert score_of(Fixed(), (x, y[:, None]), Normal()).named() == {"rmse": pytest.approx(metrics.rmse)}
    labels = torch.tensor([[1, 0], [0, 1], [1, 1]])
    logits = torch.tensor([[2.0, -1.0], [1.0, 3.0], [0.5, 0.1]])
    binary = evaluate(Fixed(), (logits, labels), likelihood=Bernoulli())
    p = logits.sigmoid().double()
    assert score_of(Fixed(), (logits, labels), Bernoulli()).value == pytest.approx(binary.error) == pytest.approx(1 / 6)
    assert binary.nll == pytest.approx(-(labels * p.log() + (1 - labels) * (1 - p).log()).mean().item(), rel=1e-5)
    assert binary.brier == pytest.approx(2 * (p - labels).square().mean().item(), rel=1e-5)


def test_the_predictive_is_a_mixture() -> None:
    draws, y = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([0.0, 9.0])
    metrics = measured(draws, y, Normal(scale=0.1))
    densities = [math.exp(-50) / (0.1 * math.sqrt(2 * math.pi)), math.exp(-4050) / (0.1 * math.sqrt(2 * math.pi))]
    assert metrics.nll == pytest.approx((-math.log(densities[0]) + 4050 + math.log(0.1 * math.sqrt(2 * math.pi))) / 2, rel=1e-6)
    assert metrics.rmse == pytest.approx(9 / math.sqrt(2)), "of the mean of the draws"
    assert metrics.coverage_50 == 0.5, "0 lies between the two draws, the median of the mixture"


@pytest.mark.parametrize("outputs", [1, 2])
def test_intervals_cover_what_they_say(outputs: int) -> None:
    """Observations drawn from the predictive itself, a mixture over 30 draws: each level within its standard error."""
    n, likelihood = 4000, Normal(scale=0.5)
    draws = torch.randn(30, n, outputs)
    chosen = draws[torch.randint(30, (n,)), torch.arange(n)]
    y = chosen + 0.5 * torch.randn(n, outputs)
    metrics = measured(draws, y[:, 0] if outputs == 1 else y, likelihood)
    for level, found in ((0.5, metrics.coverage_50), (0.9, metrics.coverage_90)):
        assert abs(found - level) < 4 * math.sqrt(level * (1 - level) / n)
    narrow = measured(draws, y[:, 0] if outputs == 1 else y, Normal(scale=0.01))
    assert narrow.coverage_90 < metrics.coverage_90 - 0.02


def test_intervals_of_counts_are_those_of_the_distribution() -> None:
    """Scipy's quantiles: what lies from the 5 % to the 95 % one is inside."""
    from scipy.stats import poisson

    rate, y = 3.7, torch.arange(15.0)
    metrics = [measured(torch.full((1, 1), math.log(rate)), y[k : k + 1], Poisson()) for k in range(15)]
    low, high = poisson.ppf([0.05, 0.95], rate)
    assert [m.coverage_90 for m in metrics] == [float(low <= k <= high) for k in range(15)]


def test_ridge_is_scikit_learns() -> None:
    data = load_data("diabetes")
    train = data.x_train, data.y_train
    net, noise = ridge_regression(train)
    wanted = RidgeCV(np.logspace(-3, 5, 33)).fit(data.x_train.double(), data.y_train)
    assert np.allclose(net(data.x_test)[:, 0].detach(), wanted.predict(data.x_test.double()), rtol=1e-4)
    assert noise.scale == pytest.approx(math.sqrt(-wanted.best_score_), rel=1e-5)
    assert data.x_train.mean(0).abs().max() < 1e-6
    assert data.x_test.mean(0).abs().max() > 1e-3, "standardized by the training data alone"
    assert (len(data.x_train), len(data.x_test)) == (353, 89)


def test_ridge_that_standardizes_does_not_depend_on_units() -> None:
    data = load_data("diabetes")
    x, y = data.x_train, data.y_train
    other = x * torch.logspace(-3, 6, 10) + 7
    nets = [ridge_regression((inputs, y), standardize=True) for inputs in (x, other)]
    torch.testing.assert_close(nets[1][0](other), nets[0][0](x), rtol=1e-3, atol=0.1)
    assert nets[1][1].scale == pytest.approx(nets[0][1].scale, rel=1e-4)
    plain = ridge_regression((other, y))[1].scale
    assert abs(plain - nets[0][1].scale) > 1e-3, "without it, the penalty does"


def test_rescale_goes_through_everything(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1), Rescale())
    net[-1].fit(targets := torch.tensor([10.0, 30.0]))
    assert (net[-1].mean, net[-1].std) == (targets.mean(), 10.0)
    with torch.no_grad():
        net[0].weight[:3] = 0
    x = torch.randn(7, 4)
    save_pruned(net, tmp_path / "a.safetensors", layout="sparse")
    for other in (compact(net), load_pruned(tmp_path / "a.safetensors"), sparsify_runtime(net, (7,))):
        torch.testing.assert_close(other(x), net(x))
    assert unit_counts(surviving_units(net)) == [4, 3]


def test_threshold_by_the_share_of_the_rmse() -> None:
    torch.manual_seed(0)
    model = BayesianNetwork(nn.Linear(20, 1), Normal(scale=1.0))
    guide = VariationalDropout(model, log_sigma2=-4.0)
    x = torch.randn(300, 20)
    with torch.no_grad():
        guide.site("weight").theta *= 100
        guide.site("weight").log_sigma2 += 2 * math.log(100)
    y = posterior_mean(guide)(x)[:, 0].detach() + 30 * torch.randn(300)
    for rise in (0.02, 0.3):
        choice = choose_threshold(guide, (x, y), rise)
        good = [trial.threshold for trial in choice.trials if trial.error <= (1 + rise) * choice.unpruned_error]
        assert choice.threshold == good[0] > choice.trials[0].threshold
        assert choice.unpruned_error == pytest.approx(30, rel=0.2)
