"""Entropy, mutual information, calibration, refusal and foreign inputs, against values known by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from support import refuses
from torch import Tensor, nn

from pyro_vd import evaluate
from pyro_vd.evaluation.standard_error import share_interval
from pyro_vd.evaluation.uncertainty import (
    by_confidence,
    confidence_bins,
    entropy,
    equal_mass_calibration_error,
    ood_metrics,
    risk_coverage,
)
from pyro_vd.plots.uncertainty import error_against_coverage, reliability

N = 20_000


def calibrated(classes: int = 5) -> tuple[Tensor, Tensor]:
    """Random probabilities, and labels drawn from them."""
    p = torch.randn(N, classes, dtype=torch.float64).mul(2).softmax(-1)
    return p, torch.multinomial(p, 1)[:, 0]


def test_entropy_lies_between_certainty_and_no_idea() -> None:
    p, _ = calibrated()
    found = entropy(p.log())
    assert (found > 0).all()
    assert (found < math.log(5)).all()
    assert entropy(torch.full((4,), 0.25).log()).item() == pytest.approx(math.log(4))
    assert entropy(torch.tensor([0.0, -math.inf, -math.inf])).item() == 0
    torch.testing.assert_close(found, torch.distributions.Categorical(p).entropy())


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    p, y = calibrated()
    metrics = evaluate(nn.Identity(), (p.log(), y))
    bound = 15 * 0.5 / math.sqrt(N / 15) / 15  # every bin's standard error at its largest
    assert max(metrics.ece, metrics.ece_equal_mass) < bound
    sharper = p.pow(3) / p.pow(3).sum(-1, keepdim=True)
    worse = evaluate(nn.Identity(), (sharper.log(), y))
    assert min(worse.ece, worse.ece_equal_mass) > 5 * bound
    assert worse.nll > metrics.nll, "so it is seen in the likelihood, too"


def test_calibration_error_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    y = torch.tensor([0] * 6 + [1] * 4 + [0] * 9 + [1])
    assert equal_mass_calibration_error(p, y, bins=2) == pytest.approx((0.3 + 0.3) / 2)
    assert equal_mass_calibration_error(p, y, bins=1) == pytest.approx(0.0, abs=1e-7), "too sure and too unsure cancel"
    assert equal_mass_calibration_error(p[:3], y[:3]) == pytest.approx(0.1), "no more bins than predictions"
    shuffled = torch.randperm(20)
    assert equal_mass_calibration_error(p[shuffled], y[shuffled], 4) == pytest.approx(equal_mass_calibration_error(p, y, 4))


def test_bins_of_equal_width() -> None:
    """Certain predictions are in the last bin, and a boundary belongs to the bin below it."""
    confidence = torch.tensor([0.5, 0.6, 0.6 + 1e-9, 0.95, 1.0, 1.0], dtype=torch.float64)
    p, y = torch.stack([confidence, 1 - confidence], 1), torch.tensor([0, 1, 0, 0, 0, 1])
    counts, said, correct = bins = confidence_bins(p, y)
    assert counts.tolist() == [0] * 7 + [1, 1, 1] + [0] * 4 + [3]
    assert said.sum().item() == pytest.approx(confidence.sum().item())
    assert correct.tolist() == [0] * 7 + [1, 0, 1] + [0] * 4 + [2]
    assert bins.calibration_error == pytest.approx((0.5 + 0.6 + 0.4 + 0.95) / 6)


def test_refusal() -> None:
    n, wrong = 100, 10
    confidence = torch.linspace(0.99, 0.51, n, dtype=torch.float64)
    p, y = torch.stack([confidence, 1 - confidence], 1), torch.zeros(n, dtype=torch.long)
    y[-wrong:] = 1  # the least confident are the wrong ones
    best = risk_coverage(p, y)
    assert best[: n - wrong].max() == 0
    assert best[-1] == pytest.approx(wrong / n)
    assert best.mean() == pytest.approx(sum(k / (n - wrong + k) for k in range(1, wrong + 1)) / n)
    worst = risk_coverage(p, y.flip(0))
    assert worst[:wrong].min() == 1
    assert worst[-1] == best[-1]
    ties = risk_coverage(torch.tensor([[0.6, 0.4]]).expand(n, 2), y)  # where confidence says nothing, refusing gains nothing
    torch.testing.assert_close(ties, torch.full((n,), wrong / n, dtype=torch.float64))
    values, correct = by_confidence(p, y)
    assert values.tolist() == sorted(values.tolist(), reverse=True)
    assert correct.sum() == n - wrong


def test_detection() -> None:
    scores = torch.rand(500)
    same = ood_metrics(scores, scores)
    assert same.auroc == pytest.approx(0.5)
    assert same.fpr95 == pytest.approx(0.95, abs=0.01)
    apart = ood_metrics(torch.arange(100.0), torch.arange(100.0, 150.0))
    assert (apart.auroc, apart.fpr95) == (1.0, 0.0)
    # 95 of 100 familiar scores are at most 94; 30 of the 40 foreign ones are, too.
    foreign = torch.cat([torch.linspace(0.0, 94.0, 30), torch.linspace(94.5, 200.0, 10)])
    assert ood_metrics(torch.arange(100.0), foreign).fpr95 == pytest.approx(30 / 40)
    assert ood_metrics(torch.zeros(10), torch.ones(10)).auroc == 1
    assert ood_metrics(torch.ones(10), torch.ones(10)).fpr95 == 1, "what cannot be told apart is let through"
    for broken in (torch.tensor([]), torch.tensor([math.nan])):
        with refuses("foreign", (len(scores), len(broken))):
            ood_metrics(scores, broken)


def test_probabilities_that_are_none() -> None:
    for broken in (torch.zeros(0, 3), torch.tensor([[math.nan, 0.5], [0.5, 0.5]])):
        for measure in (risk_coverage, equal_mass_calibration_error):
            with refuses("p", tuple(broken.shape), tuple(broken.shape)):
                measure(broken, torch.zeros(len(broken), dtype=torch.int64))


def test_pictures() -> None:
    p, y = calibrated()
    sure = p.pow(3) / p.pow(3).sum(-1, keepdim=True)
    figure = reliability({"calibrated": (p, y), "too sure": (sure, y)})
    x, accuracy = points_of(figure, 0)
    counts = np.histogram(p.max(-1).values.numpy(), bins=15, range=(0, 1))[0]
    counts = counts[counts >= 10]
    many = counts >= 500
    assert many.sum() >= 5
    assert (abs(x - accuracy) < 4.5 * 0.5 / np.sqrt(counts))[many].all()
    (bars,) = [part for part in figure.axes[0].containers if isinstance(part, ErrorbarContainer)]
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    assert (ends == [share_interval(a, n) for a, n in zip(accuracy, counts, strict=True)]).all()
    diagonal = (ends[:, 0] < x) & (x < ends[:, 1])
    assert diagonal.mean() > 0.7, "of intervals of 95 %"
    x, accuracy = points_of(figure, 1)
    counts = np.histogram(sure.max(-1).values.numpy(), bins=15, range=(0, 1))[0]
    counts = counts[counts >= 10]
    assert (accuracy < x + 4.5 * 0.5 / np.sqrt(counts)).all(), "below the diagonal"
    assert (accuracy < x)[counts >= 500].all()
    for axes, given in zip(figure.axes, (p, sure), strict=True):
        assert sum(patch.get_height() for patch in axes.patches) == pytest.approx(1)
        ece = evaluate(nn.Identity(), (given.log(), y)).ece
        assert axes.get_title().endswith(f": ECE {100 * ece:.2f} %")
    assert len(points_of(reliability({"few": (p[:9], y[:9])}), 0)[0]) == 0
    for n in (21, 31, 38):  # their intervals end below 1 by rounding
        sure = torch.tensor([[1.0, 0.0]]).repeat(n, 1)
        assert points_of(reliability({"right": (sure, torch.zeros(n, dtype=torch.long))}), 0)[1] == 1
    curve = risk_coverage(p, y)
    drawn = error_against_coverage({"a": [curve, 2 * curve]}).axes[0]
    assert (drawn.get_xscale(), drawn.get_yscale()) == ("log", "log")
    refused, error = drawn.lines[0].get_xydata().T
    assert error[0] == pytest.approx(150 * curve[-1].item()), "nothing is refused at the right edge"
    assert drawn.get_xlim() == pytest.approx((30, refused[0]))
    for share, value in zip(refused[1:], error[1:], strict=True):
        assert value == pytest.approx(150 * curve[N - 1 - round(share * N / 100)].item(), rel=1e-6)
    ticks = [label.get_text() for label in drawn.get_xticklabels()]
    assert (ticks[0], ticks[-1]) == ("70", "100")
    assert error_against_coverage({"never wrong": [torch.zeros(50)]}).axes[0].get_ylabel()


def points_of(figure: Figure, panel: int) -> tuple[np.ndarray, np.ndarray]:
    """Return confidence and accuracy of the points of a panel."""
    (bars,) = [part for part in figure.axes[panel].containers if isinstance(part, ErrorbarContainer)]
    x, accuracy = bars.lines[0].get_data()
    return np.asarray(x), np.asarray(accuracy)
