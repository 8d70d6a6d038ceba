"""The comparison of two networks on the same examples: known values, error rates on synthetic errors, and coverage."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from pyro_vd import evaluate
from pyro_vd.evaluation.paired import mcnemar, paired_test, too_few_examples
from pyro_vd.evaluation.score import ERROR, RMSE, score_of
from pyro_vd.evaluation.standard_error import Losses, losses_by_example
from pyro_vd.models import Normal


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (0, 6), (5, 5), (3, 17), (40, 61), (900, 1000)])
def test_mcnemar_is_the_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(expected, rel=1e-9)


def wrong(share: Tensor | float, *shape: int) -> Tensor:
    return (torch.rand(*shape, dtype=torch.float64) < share).double()


def of_errors(errors: Tensor) -> Losses:
    return Losses(ERROR, errors, torch.ones_like(errors))


def test_equally_good_networks_are_seldom_called_different_and_worse_ones_often() -> None:
    """Of 2,000 pairs with the same share of errors, at most 5 % have p < 0.05; the exact test is conservative."""
    torch.manual_seed(0)
    n, trials = 1000, 2000
    hard = wrong(0.03, trials, n)
    before, after, worse = hard.maximum(wrong(0.01, trials, n)), hard.maximum(wrong(0.01, trials, n)), wrong(0.06, trials, n)
    same = [paired_test(of_errors(a), of_errors(b)).p_value for a, b in zip(before, after, strict=True)]
    other = [paired_test(of_errors(a), of_errors(b)).p_value for a, b in zip(before[:200], worse[:200], strict=True)]
    assert 0.005 < sum(p < 0.05 for p in same) / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert sum(p < 0.05 for p in other) / 200 > 0.3


@pytest.mark.parametrize(("share", "n"), [(0.01, 300), (0.03, 1000), (0.3, 100)])
def test_the_interval_of_an_error_covers_its_share(share: float, n: int) -> None:
    torch.manual_seed(0)
    trials = 2000
    intervals = [of_errors(errors).interval for errors in wrong(share, trials, n)]
    covered = sum(low <= share <= high for low, high in intervals) / trials
    assert abs(covered - 0.95) < 0.02 + 3 * math.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize("labels", [1, 4])
def test_intervals_and_tests_of_mean_losses(labels: int) -> None:
    """Squared errors, and errors of several labels per example that depend on each other."""
    torch.manual_seed(0)
    n, trials = 200, 1500
    covered = rejected = 0
    for _ in range(trials):
        noise, other = torch.randn(n, dtype=torch.float64), torch.randn(n, dtype=torch.float64)
        common = torch.randn(n, dtype=torch.float64)
        counts = torch.full((n,), float(labels), dtype=torch.float64)
        one, two = (Losses(RMSE, labels * (common + each).square() / 2, counts) for each in (noise, other))
        low, high = one.interval
        covered += low <= 1 <= high
        rejected += paired_test(one, two).p_value < 0.05
    tolerance = 3 * math.sqrt(0.05 * 0.95 / trials)
    assert abs(covered / trials - 0.95) < 0.015 + tolerance
    assert abs(rejected / trials - 0.05) < 0.01 + tolerance


def test_the_losses_of_a_network_give_its_score() -> None:
    torch.manual_seed(0)
    x = torch.randn(60, 4)
    net = nn.Linear(4, 3)
    for y, likelihood in ((torch.randint(3, (60,)), None), (torch.randn(60, 3), Normal(scale=0.5))):
        losses = losses_by_example(net, (x, y), likelihood)
        expected = score_of(net, (x, y), likelihood)
        assert losses.score.name == expected.name
        assert losses.score.value == pytest.approx(expected.value)
        low, high = losses.interval
        assert low < losses.score.value < high
    error = evaluate(net, (x, torch.zeros(60, dtype=torch.long))).score.value
    assert losses_by_example(net, (x, torch.zeros(60, dtype=torch.long))).score.value == pytest.approx(error)


def test_a_network_is_not_different_from_itself() -> None:
    torch.manual_seed(0)
    data, net = (torch.randn(50, 4), torch.randint(3, (50,))), nn.Linear(4, 3)
    losses = losses_by_example(net, data)
    found = paired_test(losses, losses)
    assert (found.p_value, found.only_before, found.only_after, found.standard_error) == (1.0, 0, 0, 0.0)
    numbers = Losses(RMSE, losses.sums, losses.counts)
    assert paired_test(numbers, numbers).p_value == 1.0


def test_few_examples_cannot_tell_a_small_rise() -> None:
    """200 examples at 3 % of errors have chosen 3.89 % for an unchanged 3.00 %."""
    few, many = (of_errors((torch.arange(n) % 100 < 3).double()) for n in (200, 100_000))
    said = too_few_examples(few, None, 0.005)
    assert said is not None
    assert "200" in said
    needed = int(said.split("about ")[1].split(" ")[0].replace(",", ""))
    assert needed == pytest.approx(1.645**2 * 0.03 / 0.005**2, rel=0.01)
    assert too_few_examples(many, None, 0.005) is None
    assert too_few_examples(many, 1e-4, 0.0) is not None
    numbers = Losses(RMSE, torch.ones(50, dtype=torch.float64), torch.ones(50, dtype=torch.float64))
    assert too_few_examples(numbers, None, 0.01) is None
    assert too_few_examples(numbers, 0.1, 0.01) is not None
    assert too_few_examples(numbers, 0.001, 0.01) is None


def test_nothing_is_said_of_a_share_of_a_score_of_zero() -> None:
    losses = Losses(RMSE, torch.zeros(50, dtype=torch.float64), torch.ones(50, dtype=torch.float64))
    assert too_few_examples(losses, 0.1, 0.002) is None
