"""Uncertainty of a classifier: entropy, calibration, selective prediction, and out-of-distribution detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vd._core.arrays import tensor_of
from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed

CALIBRATION_BINS = 15
"""Number of bins of the expected calibration error."""


def entropy(log_p: Tensor) -> Tensor:
    """Return the entropy −Σ p log p in nats, in [0, log classes], of log probabilities ``(…, classes)``; 0 · log 0 is 0."""
    return torch.special.entr(log_p.exp()).sum(-1)


def by_confidence(p: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return confidence (the largest probability) and correctness per prediction, ``(n,)``, the most confident first.

    Correctness is 0 or 1; predictions of equal confidence have their mean correctness, so that their order does not matter.

    Args:
        p: probabilities ``(n, classes)``.
        y: labels ``(n,)``.

    Raises:
        InputError: the shapes do not fit, or the probabilities are empty or not finite.
    """
    confidence, correct = _confidence(p, y)
    values, place, counts = confidence.unique(return_inverse=True, return_counts=True)
    right = torch.zeros_like(values).index_add_(0, place, correct) / counts
    order = confidence.argsort(descending=True)
    return confidence[order], right[place[order]]


def _confidence(p: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence and correctness per prediction, in their order; see :func:`by_confidence`."""
    p, y = tensor_of("probabilities", p), tensor_of("labels", y)
    if p.ndim < 2 or p.shape[:-1] != y.shape:
        raise InputError(
            f"probabilities of shape {tuple(p.shape)} and labels of shape {tuple(y.shape)}; the shapes must be (n, classes) "
            "and (n,)",
            name="p",
            value=tuple(p.shape),
            allowed="of shape (n, classes), with labels of shape (n,)",
        )
    if p.numel() == 0 or not p.isfinite().all():
        raise InputError(
            f"probabilities of shape {tuple(p.shape)}, {int((~p.isfinite()).sum())} of them NaN or infinite; there must be at "
            "least one, and all must be finite",
            name="p",
            value=tuple(p.shape),
            allowed="finite, and at least one",
        )
    confidence, predicted = p.double().max(-1)
    return confidence, (predicted == y).double()


class ConfidenceBins(NamedTuple):
    """Sums over the predictions in each of 15 bins of confidence of equal width, ``(15,)`` each, on the CPU."""

    counts: Tensor
    """Number of predictions."""
    said: Tensor
    """Sum of their confidences."""
    correct: Tensor
    """Number of correct ones."""

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, the mean of |confidence − accuracy|, in [0, 1] (Guo 2017, equation 3)."""
        return ((self.said - self.correct).abs().sum() / self.counts.sum()).item()


def confidence_bins(p: Tensor, y: Tensor) -> ConfidenceBins:
    """Return the sums per bin of confidence; a confidence on the boundary of two bins belongs to the lower one.

    See Guo 2017, arXiv 1706.04599, section 2.

    Args:
        p: probabilities ``(n, classes)``.
        y: labels ``(n,)``.

    Raises:
        InputError: the shapes do not fit, or the probabilities are empty or not finite.
    """
    confidence, correct = (part.cpu() for part in _confidence(p, y))
    edges = torch.linspace(0, 1, CALIBRATION_BINS + 1, dtype=torch.float64)
    bins = torch.bucketize(confidence, edges[1:-1])
    return ConfidenceBins(*(torch.bincount(bins, of, CALIBRATION_BINS) for of in (None, confidence, correct)))


def equal_mass_calibration_error(p: Tensor, y: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Return the expected calibration error over bins with equal numbers of predictions, the mean of |confidence − accuracy|.

    It is in [0, 1]. With bins of equal width, most predictions of a good classifier are in one bin (Nixon 2019, arXiv
    1904.01685, section 4).

    Args:
        p: probabilities ``(n, classes)``.
        y: labels ``(n,)``.
        bins: number of bins; at most n are used.

    Raises:
        InputError: the shapes do not fit, or the probabilities are empty or not finite.
    """
    parts = zip(*(part.tensor_split(min(bins, len(y))) for part in by_confidence(p, y)), strict=True)
    return sum(abs(confidence.sum() - correct.sum()).item() for confidence, correct in parts) / len(y)


def risk_coverage(p: Tensor, y: Tensor) -> Tensor:
    """Return the error of the k most confident of n predictions, ``(n,)`` for k = 1 … n; the coverage is k/n.

    The last value is the error of all predictions; the mean of the values is the area under the curve (Geifman, Uziel and
    El-Yaniv 2018, arXiv 1805.08206). For predictions of equal confidence, it is the mean over all their orders.

    Args:
        p: probabilities ``(n, classes)``.
        y: labels ``(n,)``.

    Raises:
        InputError: the shapes do not fit, or the probabilities are empty or not finite.
    """
    _, correct = by_confidence(p, y)
    return (1 - correct).cumsum(0) / torch.arange(1, len(y) + 1, dtype=correct.dtype, device=correct.device)


@dataclass(frozen=True)
class OODMetrics:
    """Metrics of out-of-distribution detection: how well a score separates foreign inputs from familiar ones."""

    auroc: float
    """Probability that a foreign input has a higher score than a familiar one, ties counted half; 0.5 is chance."""
    fpr95: float
    """Share of foreign inputs that are accepted at the threshold that accepts at least 95 % of the familiar ones."""


def ood_metrics(familiar: Tensor, foreign: Tensor) -> OODMetrics:
    """Measure out-of-distribution detection by a score that should be higher for foreign inputs, such as the entropy.

    Familiar inputs are the positives of the true positive rate of 95 %, as in the literature (Liang 2018, arXiv 1706.02690).

    Args:
        familiar: scores ``(n,)`` of inputs like those of the training.
        foreign: scores ``(m,)`` of other inputs.

    Raises:
        InputError: there are no familiar or no foreign scores; a score is not finite; or scikit-learn is not installed.
    """
    check_installed("ood_metrics", "scikit-learn")
    from sklearn.metrics import roc_auc_score, roc_curve

    familiar, foreign = tensor_of("familiar", familiar), tensor_of("foreign", foreign)
    scores = torch.cat([familiar, foreign]).double().cpu()
    if not len(familiar) or not len(foreign) or not scores.isfinite().all():
        counts = f"{len(familiar)} familiar and {len(foreign)} foreign scores"
        raise InputError(
            f"{counts}, {int((~scores.isfinite()).sum())} not finite; there must be at least one of each, all finite",
            name="familiar" if not len(familiar) or not familiar.isfinite().all() else "foreign",
            value=(len(familiar), len(foreign)),
            allowed="at least one of each, all finite",
        )
    is_familiar = np.arange(len(scores)) < len(familiar)
    false_positives, true_positives, _ = roc_curve(is_familiar, -scores.numpy(), drop_intermediate=False)
    first = int(np.argmax(true_positives >= 0.95))
    return OODMetrics(float(roc_auc_score(~is_familiar, scores.numpy())), float(false_positives[first]))
