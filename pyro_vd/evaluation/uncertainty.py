"""What a classifier's probabilities say of its own errors: uncertainty, calibration, refusal, foreign inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vd._core.arrays import tensor_of
from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed

CALIBRATION_BINS = 15


def entropy(log_p: Tensor) -> Tensor:
    """Entropy −Σ p log p in nats, in [0, log classes], from log probabilities ``(…, classes)``; 0 · log 0 is 0."""
    return torch.special.entr(log_p.exp()).sum(-1)


def by_confidence(p: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence (the largest probability) and correctness of each prediction, the most confident first.

    Correctness is 0 or 1; among predictions of equal confidence it is their mean, so that their order does not matter.

    Raises:
        InputError: no probabilities, some that are not finite, or not as many labels.
    """
    p, y = tensor_of("probabilities", p), tensor_of("labels", y)
    if p.ndim < 2 or p.shape[:-1] != y.shape:
        raise InputError(
            f"probabilities of shape {tuple(p.shape)} and labels {tuple(y.shape)}; (n, classes) and (n,) are wanted"
        )
    if p.numel() == 0 or not p.isfinite().all():
        raise InputError(f"probabilities of shape {tuple(p.shape)}, {int((~p.isfinite()).sum())} of them NaN or infinite")
    confidence, predicted = p.double().max(-1)
    values, place, counts = confidence.unique(return_inverse=True, return_counts=True)
    right = torch.zeros_like(values).index_add_(0, place, (predicted == y).double()) / counts
    order = confidence.argsort(descending=True)
    return confidence[order], right[place[order]]


def equal_mass_calibration_error(p: Tensor, y: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error over bins of equally many predictions: the mean of |confidence − accuracy|, in [0, 1].

    Bins of equal width leave most predictions of a good classifier in one bin (Nixon 2019, arXiv 1904.01685, section 4).

    Args:
        p: probabilities ``(n, classes)``.
        y: labels ``(n,)``.
        bins: how many, at most n are made.
    """
    parts = zip(*(part.tensor_split(min(bins, len(y))) for part in by_confidence(p, y)), strict=True)
    return sum(abs(confidence.sum() - correct.sum()).item() for confidence, correct in parts) / len(y)


def risk_coverage(p: Tensor, y: Tensor) -> Tensor:
    """Error of the k most confident predictions of n, ``(n,)`` for k = 1 … n; k/n is the coverage.

    The last is the error of all; the mean is the area under the curve (Geifman, Uziel and El-Yaniv 2018, arXiv 1805.08206).
    Equal confidences count as in random order.

    Args:
        p: probabilities ``(n, classes)``.
        y: labels ``(n,)``.
    """
    _, correct = by_confidence(p, y)
    return (1 - correct).cumsum(0) / torch.arange(1, len(y) + 1, dtype=correct.dtype, device=correct.device)


@dataclass(frozen=True)
class OODMetrics:
    """How well a score tells foreign inputs from those that the network is meant for."""

    auroc: float
    """Probability that a foreign input has the higher score, ties counted half; 0.5 is chance."""
    fpr95: float
    """Share of foreign inputs that are let through where at least 95 % of the familiar ones are."""


def ood_metrics(familiar: Tensor, foreign: Tensor) -> OODMetrics:
    """Out-of-distribution detection by a score that should be higher for foreign inputs, such as the entropy.

    As in the literature the familiar are the positives of the 95 % (Liang 2018, arXiv 1706.02690).

    Raises:
        InputError: no score, one that is not finite, or scikit-learn is not installed.
    """
    check_installed("ood_metrics", "scikit-learn")
    from sklearn.metrics import roc_auc_score, roc_curve

    familiar, foreign = tensor_of("familiar", familiar), tensor_of("foreign", foreign)
    scores = torch.cat([familiar, foreign]).double().cpu()
    if not len(familiar) or not len(foreign) or not scores.isfinite().all():
        counts = f"{len(familiar)} familiar and {len(foreign)} foreign scores"
        raise InputError(f"{counts}, {int((~scores.isfinite()).sum())} not finite; there must be some of each, all finite")
    is_familiar = np.arange(len(scores)) < len(familiar)
    false_positives, true_positives, _ = roc_curve(is_familiar, -scores.numpy(), drop_intermediate=False)
    first = int(np.argmax(true_positives >= 0.95))
    return OODMetrics(float(roc_auc_score(~is_familiar, scores.numpy())), float(false_positives[first]))
