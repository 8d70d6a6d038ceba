"""What is observed, as a likelihood has it: classes, zeros and ones, or numbers. Needs torch alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal, Poisson

from pyro_vd.errors import InputError

Observed = Callable[[Tensor], Distribution]
"""A likelihood: maps the network's output ``(n, …)`` to a distribution with batch shape ``(n,)``."""

_VALUES = {Normal: "finite numbers", Poisson: "whole numbers, 0 or more", Bernoulli: "0 or 1"}


def base_distribution(distribution: Distribution) -> Distribution:
    """The distribution of one number, without what ``to_event`` put round it."""
    return distribution.base_dist if isinstance(distribution, Independent) else distribution


def distribution_of(likelihood: Observed | None, output: Tensor) -> Distribution:
    """The distribution of the observations, where the likelihood is; of classes from logits if that is None."""
    if likelihood is None:
        return Categorical(logits=output, validate_args=False)
    if isinstance(likelihood, nn.Module):
        output = output.to(next((tensor.device for tensor in likelihood.state_dict().values()), output.device))
    return likelihood(output)


def likelihood_of(info: Mapping[str, Any]) -> Observed | None:
    """The likelihood that belongs to a network's file with this ``info``; None where it says nothing: classes from logits.

    Raises:
        InputError: it says something else than a run writes.
    """
    if "likelihood" not in info:
        return None
    from pyro_vd.models.likelihoods import described  # needs Pyro

    return described(info["likelihood"])


def is_classes(distribution: Distribution) -> bool:
    """Whether a class is observed."""
    return isinstance(base_distribution(distribution), Categorical)


def class_labels(y: Tensor) -> Tensor:
    """The labels ``(n,)`` that belong to :func:`~pyro_vd.scores.logits_of`."""
    return y.flatten().long()


def check_observations(name: str, y: Tensor, likelihood: Observed | None, output: Tensor) -> Tensor:
    """The observations as the likelihood takes them: classes as they are, others of the output's type, a column as ``(n,)``.

    Args:
        name: what they are called in an error.
        y: observations ``(n, …)``.
        likelihood: as of :func:`distribution_of`.
        output: the network's, for some examples.

    Raises:
        InputError: of another shape or type than the likelihood wants, or values that it does not allow.
    """
    distribution = distribution_of(likelihood, output)
    if is_classes(distribution):
        return _check_classes(name, y, output)
    base, event = base_distribution(distribution), tuple(distribution.event_shape)
    kind = type(base).__name__
    if event == () and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if tuple(y.shape[1:]) != event:
        wanted = ", ".join(map(str, ("n", *event))) + ("" if event else ",")
        raise InputError(
            f"{name}: observations of shape {tuple(y.shape)}; a {kind} likelihood of the network's output, whose shape is "
            f"{tuple(output.shape)}, wants ({wanted})"
        )
    if y.dtype == torch.bool or y.is_complex():
        raise InputError(f"{name}: observations of type {_type(y)}; a {kind} likelihood wants integers or floating point")
    y = y.to(output.dtype)
    allowed = next((values for family, values in _VALUES.items() if isinstance(base, family)), None)
    fits = torch.isfinite(y)
    if allowed and base.support is not None:
        fits &= base.support.check(y)
    if not fits.all():
        first = int((~fits).reshape(len(y), -1).any(1).nonzero()[0])
        value = y[first][~fits[first]].flatten()[0].item()
        raise InputError(
            f"{name}: observation {value:g} in example {first}; a {kind} likelihood wants {allowed or 'finite numbers'}"
        )
    return y


def _check_classes(name: str, y: Tensor, output: Tensor) -> Tensor:
    if y.ndim != 1:
        raise InputError(f"{name}: labels of shape {tuple(y.shape)}; they must be (n,) integers")
    if y.is_floating_point() or y.is_complex():
        raise InputError(
            f"{name}: labels of type {_type(y)}; they must be integers, unless the likelihood (of a recipe: model.likelihood) "
            "is another than categorical, such as normal"
        )
    if int(y.min()) < 0:
        raise InputError(f"{name}: label {int(y.min())}; labels must be 0 or more")
    if output.ndim != 2 or int(y.max()) >= output.shape[-1]:
        raise InputError(
            f"{name}: label {int(y.max())} does not fit the network, whose output for one example has the shape "
            f"{(1, *output.shape[1:])}; it must be (1, classes), and labels count from 0 to classes - 1"
        )
    return y


def _type(y: Tensor) -> str:
    return str(y.dtype).removeprefix("torch.")
