"""The standard error of a score is the spread over data sets of the same kind, and the interval of a share covers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_vd.evaluation.score import score_of
from pyro_vd.evaluation.standard_error import score_standard_error, share_interval
from pyro_vd.models import Bernoulli, Categorical, Normal, Weighted

N, SETS = 400, 400


def labels(n: int = N) -> tuple[Tensor, Tensor]:
    """Logits of three classes, and labels of which about a third are wrong."""
    logits = torch.randn(n, 3)
    return logits, torch.where(torch.rand(n) < 0.6, logits.argmax(-1), torch.randint(3, (n,)))


def tokens(n: int = N) -> tuple[Tensor, Tensor]:
    """Five labels per example: all right, or each wrong half of the time; of some examples only two labels count."""
    logits = torch.randn(n, 5, 3)
    hard = (torch.rand(n, 1) < 0.3) & (torch.rand(n, 5) < 0.5)
    y = torch.where(hard, (logits.argmax(-1) + 1) % 3, logits.argmax(-1))
    y[torch.rand(n) < 0.3, 2:] = -100
    return logits, y


def numbers(n: int = N) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 2), torch.randn(n, 2) * 2


def events(n: int = N) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 4), (torch.rand(n, 4) < 0.5).float()


def weighted(n: int = N) -> tuple[Tensor, dict[str, Tensor]]:
    return torch.randn(n), {"y": torch.randn(n), "weight": (torch.rand(n) < 0.5).float()}


@pytest.mark.parametrize(
    ("draw", "likelihood"),
    [
        (labels, None),
        (tokens, Categorical(ignore_index=-100)),
        (numbers, Normal()),
        (events, Bernoulli()),
        (weighted, Weighted(Normal())),
    ],
)
def test_it_is_the_spread_over_data_sets(draw: Callable[[], Any], likelihood: Any) -> None:
    """The bounds are four standard errors of a standard deviation of so many values, a share of 1/√(2 SETS)."""
    net = nn.Identity()
    scores, errors = [], []
    for _ in range(SETS):
        data = draw()
        scores.append(score_of(net, data, likelihood).value)
        errors.append(score_standard_error(net, data, likelihood))
    assert torch.tensor(scores).std().item() == pytest.approx(sum(errors) / SETS, rel=4 / math.sqrt(2 * SETS))


def test_of_one_label_per_example() -> None:
    x, y = labels()
    share = score_of(nn.Identity(), (x, y)).value
    assert score_standard_error(nn.Identity(), (x, y)) == pytest.approx(math.sqrt(share * (1 - share) / N), rel=1e-5)
    assert score_standard_error(nn.Identity(), (x, x.argmax(-1))) == 0


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_interval_of_a_share(share: float) -> None:
    """It covers the true share in about 95 % of the cases; the bounds are four standard errors of 2,000 cases."""
    found = torch.distributions.Binomial(200, torch.tensor(share)).sample((2000,)) / 200
    covered = [low <= share <= high for low, high in (share_interval(each, 200) for each in found.tolist())]
    assert sum(covered) / 2000 == pytest.approx(0.95, abs=0.02 + 4 * math.sqrt(0.05 * 0.95 / 2000))
    low, high = share_interval(0.0, 200)
    assert (low, 0.01 < high < 0.03) == (0, True)
    assert share_interval(1.0, 200) == (pytest.approx(1 - high), 1)
