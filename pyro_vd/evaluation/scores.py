"""Expectation, likelihood and distribution function of observations under their distribution. Needs only torch."""

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
    """Return class probabilities ``(n, classes)``, or the mean of numbers ``(n, …)``.

    Raises:
        InputError: torch does not implement the mean of this distribution.
    """
    found: Any = base_distribution(distribution)
    try:
        mean: Tensor = found.probs if is_classes(distribution) else found.mean
    except NotImplementedError as error:
        raise InputError(
            f"observations from a {type(found).__name__} cannot be predicted by their mean, which torch does not implement; "
            "use a likelihood whose distribution has a mean",
            name="likelihood",
            value=type(found).__name__,
            allowed="a distribution with a mean",
        ) from error
    return mean


def logits_of(distribution: Distribution) -> Tensor | None:
    """Return logits ``(n, classes)`` if a class is observed, None if numbers are.

    Zeros and ones are two classes; if an example has several, ``(n, d)``, each counts as one example, ``(n · d, 2)``.
    """
    base: Any = base_distribution(distribution)
    if isinstance(base, Bernoulli):
        return torch.stack([torch.zeros_like(base.logits), base.logits], -1).flatten(0, -2)
    return base.logits if is_classes(distribution) else None


def class_scores(distribution: Distribution, y: Tensor | None = None) -> Draws:
    """Return ``log_p`` ``(n, classes)``, the log probabilities of :func:`logits_of`, and ``entropy`` ``(n,)``, in nats.

    Both are in float64, on the CPU.

    Raises:
        InputError: numbers are observed, or there is only one class.
    """
    logits = logits_of(distribution)
    if logits is None:
        kind = type(base_distribution(distribution)).__name__
        raise InputError(
            f"a {kind} likelihood has no class probabilities; use predictive for the mean, and evaluate to measure it",
            name="likelihood",
            value=kind,
            allowed="a likelihood of classes",
        )
    if logits.shape[-1] < 2:
        raise InputError(
            f"outputs of shape {tuple(logits.shape)} are not those of classes, of which there must be at least 2; for a "
            "network with another likelihood give likelihood=model.likelihood",
            name="net",
            value=tuple(logits.shape),
            allowed="outputs of shape (n, classes) with classes >= 2",
        )
    log_p = logits.cpu().double().log_softmax(-1)
    return {"log_p": log_p, "entropy": entropy(log_p)}


def number_scores(distribution: Distribution, y: Tensor) -> Draws:
    """Return the mean, the log likelihood and the distribution function of numbers, in float64 on the CPU.

    These are ``mean`` ``(n, …)``, ``log_likelihood`` ``(n,)`` in nats, and ``below`` and ``upto``, P(Y < y) and P(Y ≤ y),
    ``(n, …)``; the last two are NaN if torch does not implement the distribution function.

    Raises:
        InputError: torch does not implement the mean of this distribution.
    """
    mean = expected(distribution)
    y = y.to(mean)
    below, upto = _cdf(base_distribution(distribution), y)
    found = {"mean": mean, "log_likelihood": log_likelihood(distribution, y), "below": below, "upto": upto}
    return {name: value.cpu().double() for name, value in found.items()}


def scores(distribution: Distribution, y: Tensor) -> Draws:
    """Return :func:`class_scores` if classes are observed, and :func:`number_scores` if numbers are."""
    return number_scores(distribution, y) if logits_of(distribution) is None else class_scores(distribution)


def log_likelihood(distribution: Distribution, y: Tensor) -> Tensor:
    """Return log p(y) per example in nats, ``(n,)``, the sum over the numbers of an example."""
    found: Tensor = distribution.log_prob(y)
    return found.flatten(1).sum(1) if found.ndim > 1 else found


def _cdf(base: Distribution, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return P(Y < y) and P(Y ≤ y); NaN if torch does not implement the distribution function."""
    if isinstance(base, Poisson):
        return torch.special.gammaincc(y, base.rate), torch.special.gammaincc(y + 1, base.rate)
    try:
        return (base.cdf(y),) * 2
    except NotImplementedError:
        return (torch.full_like(y, torch.nan),) * 2
