"""Expectation, likelihood and distribution function of observations under their distribution. Needs only torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.cdf import cdf
from pyro_vd.evaluation.class_labels import ClassLabels, base_distribution, is_classes
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.structured import JointDistribution, WeightedDistribution, unweighted
from pyro_vd.evaluation.uncertainty import entropy


def expected(distribution: Distribution) -> Tensor:
    """Return class probabilities ``(n, …, classes)``, or the mean of numbers ``(n, …)``, of one head.

    Raises:
        InputError: torch does not implement the mean of this distribution.
    """
    if isinstance(distribution, WeightedDistribution):
        return expected(distribution.base)
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
    """Return logits ``(n, …, classes)`` if classes are observed, None if numbers are.

    Zeros and ones are two classes; if an example has several, ``(n, d)``, each counts as one example, ``(n · d, 2)``.
    """
    base: Any = base_distribution(distribution)
    if isinstance(base, Bernoulli):
        return torch.stack([torch.zeros_like(base.logits), base.logits], -1).flatten(0, -2)
    return base.logits if is_classes(distribution) else None


def class_scores(logits: Tensor) -> Draws:
    """Return ``log_p`` ``(n, …, classes)``, the log probabilities of :func:`logits_of`, and ``entropy`` ``(n, …)``, in nats.

    Both are in float64, on the CPU.

    Raises:
        InputError: there is only one class.
    """
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


def kept(distribution: Distribution, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return whether each label, ``(n, …)``, or each example of numbers, ``(n,)``, is observed.

    A label that a likelihood ignores is not, nor is an example of weight 0. Zeros and ones are flattened as in
    :func:`logits_of`.
    """
    base = base_distribution(distribution)
    if isinstance(base, ClassLabels):
        found = base.is_kept(y)
    else:
        shape = y.flatten().shape if isinstance(base, Bernoulli) else y.shape if is_classes(distribution) else y.shape[:1]
        found = torch.ones(shape, dtype=torch.bool, device=y.device)
    if weight is None:
        return found
    by_label = (weight > 0).repeat_interleave(len(found) // len(weight))
    return found & by_label.reshape(-1, *(1,) * (found.ndim - 1))


def number_scores(distribution: Distribution, y: Tensor) -> Draws:
    """Return the mean, the log likelihood and the distribution function of numbers, in float64 on the CPU.

    These are ``mean`` ``(n, …)``, ``log_likelihood`` ``(n,)`` in nats, and ``below`` and ``upto``, P(Y < y) and P(Y ≤ y),
    ``(n, …)``; the last two are NaN if the distribution function is not known. See :func:`~pyro_vd.evaluation.cdf.cdf`.

    Raises:
        InputError: torch does not implement the mean of this distribution.
    """
    mean = expected(distribution)
    y = y.to(mean)
    below, upto = cdf(base_distribution(distribution), y)
    found = {"mean": mean, "log_likelihood": log_likelihood(distribution, y), "below": below, "upto": upto}
    return {name: value.cpu().double() for name, value in found.items()}


def scores(distribution: Distribution, y: Any) -> Draws:
    """Return :func:`class_scores` if classes are observed, :func:`number_scores` if numbers are, and those of each head.

    The names of a head's scores end in ``.<head>``, and there is the ``log_likelihood`` ``(n,)`` of all observed heads. For
    classes, and for numbers with weights of examples, there is ``kept`` too, see :func:`kept`.
    """
    if isinstance(distribution, JointDistribution):
        found = {
            f"{name}.{key}": value for key, part in y.items() for name, value in scores(distribution.heads[key], part).items()
        }
        return {**found, "log_likelihood": log_likelihood(distribution, y).cpu().double()}
    base, y, weight = unweighted(distribution, y)
    logits = logits_of(base)
    found = number_scores(base, y) if logits is None else class_scores(logits)
    if logits is None and weight is None:
        return found
    return {**found, "kept": kept(base, y, weight).cpu().double()}


def log_likelihood(distribution: Distribution, y: Any) -> Tensor:
    """Return log p(y) per example in nats, ``(n,)``, the sum over all that is observed of an example.

    It does not depend on weights of classes or of examples, except that an example of weight 0 is not observed, nor on label
    smoothing, which change the loss only.
    """
    if isinstance(distribution, JointDistribution):
        return torch.stack([log_likelihood(distribution.heads[key], part) for key, part in y.items()]).sum(0)
    distribution, y, weight = unweighted(distribution, y)
    base = base_distribution(distribution)
    found = base.log_p_of(y) if isinstance(base, ClassLabels) else distribution.log_prob(y)
    found = found.flatten(1).sum(1) if found.ndim > 1 else found
    return found if weight is None else torch.where(weight > 0, found, 0.0)
