"""What a distribution of observations says of them: expectation, likelihood, place in the distribution. Needs torch alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Poisson

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.observations import base_distribution, is_classes
from pyro_vd.evaluation.uncertainty import entropy


def expected(distribution: Distribution) -> Tensor:
    """Class probabilities ``(n, classes)``, or the mean of numbers ``(n, …)``.

    Raises:
        InputError: torch has no mean of this distribution.
    """
    found: Any = base_distribution(distribution)
    try:
        mean: Tensor = found.probs if is_classes(distribution) else found.mean
    except NotImplementedError as error:
        raise InputError(
            f"observations from a {type(found).__name__} cannot be predicted by their mean: torch has none"
        ) from error
    return mean


def logits_of(distribution: Distribution) -> Tensor | None:
    """Logits ``(n, classes)`` where a class is observed, None where numbers are.

    Zeros and ones are two classes; where an example has several, ``(n, d)``, each counts as an example, ``(n · d, 2)``.
    """
    base: Any = base_distribution(distribution)
    if isinstance(base, Bernoulli):
        return torch.stack([torch.zeros_like(base.logits), base.logits], -1).flatten(0, -2)
    return base.logits if is_classes(distribution) else None


def class_scores(distribution: Distribution, y: Tensor | None = None) -> Draws:
    """Log probabilities of :func:`logits_of` as ``log_p`` ``(n, classes)``, their ``entropy`` ``(n,)``; float64, on the CPU.

    Raises:
        InputError: numbers are observed, or there is only one class.
    """
    logits = logits_of(distribution)
    if logits is None:
        raise InputError("probabilities are of classes; predictive gives the mean of numbers, and evaluate measures them")
    if logits.shape[-1] < 2:
        raise InputError(
            f"outputs of shape {tuple(logits.shape)} are not of classes, of which there must be at least 2; of a network "
            "with another likelihood give it as well, likelihood=model.likelihood"
        )
    log_p = logits.cpu().double().log_softmax(-1)
    return {"log_p": log_p, "entropy": entropy(log_p)}


def number_scores(distribution: Distribution, y: Tensor) -> Draws:
    """Of numbers: their ``mean`` ``(n, …)``, ``log_likelihood`` ``(n,)``, P(Y < y) as ``below`` and P(Y ≤ y) as ``upto``.

    These are ``(n, …)``, and NaN where torch has no distribution function. All are in float64 on the CPU.
    """
    mean = expected(distribution)
    y = y.to(mean)
    below, upto = _cdf(base_distribution(distribution), y)
    found = {"mean": mean, "log_likelihood": log_likelihood(distribution, y), "below": below, "upto": upto}
    return {name: value.cpu().double() for name, value in found.items()}


def scores(distribution: Distribution, y: Tensor) -> Draws:
    """:func:`class_scores` or :func:`number_scores`."""
    return number_scores(distribution, y) if logits_of(distribution) is None else class_scores(distribution)


def log_likelihood(distribution: Distribution, y: Tensor) -> Tensor:
    """log p(y) of each example, ``(n,)``: the sum over what an example has."""
    found: Tensor = distribution.log_prob(y)
    return found.flatten(1).sum(1) if found.ndim > 1 else found


def _cdf(base: Distribution, y: Tensor) -> tuple[Tensor, Tensor]:
    """P(Y < y) and P(Y ≤ y); NaN where torch has no distribution function."""
    if isinstance(base, Poisson):
        return torch.special.gammaincc(y, base.rate), torch.special.gammaincc(y + 1, base.rate)
    try:
        return (base.cdf(y),) * 2
    except NotImplementedError:
        return (torch.full_like(y, torch.nan),) * 2
