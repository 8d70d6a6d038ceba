"""What is observed, as a likelihood has it: classes, zeros and ones, or numbers. Needs torch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd.evaluation.support import check_support

Observed = Callable[[Tensor], Distribution]
"""A likelihood: maps the network's output ``(n, …)`` to a distribution with batch shape ``(n,)``."""


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


def check_likelihood(likelihood: object) -> None:
    """Refuse what is no likelihood; None stands for classes from logits.

    Raises:
        InputError: quoting it.
    """
    if likelihood is not None and (isinstance(likelihood, type) or not callable(likelihood)):
        raise InputError(
            name="likelihood", value=likelihood, allowed="an object that maps an output to a distribution: Normal()"
        )


def is_classes(distribution: Distribution) -> bool:
    """Whether a class is observed."""
    return isinstance(base_distribution(distribution), Categorical)


def class_labels(y: Tensor) -> Tensor:
    """The labels ``(n,)`` that belong to :func:`~pyro_vd.evaluation.scores.logits_of`."""
    return y.flatten().long()


def check_observations(name: str, y: Tensor, likelihood: Observed | None, output: Tensor) -> Tensor:
    """The observations as the likelihood takes them: classes as int64, others of the output's type, a column as ``(n,)``.

    Args:
        name: what they are called in an error.
        y: observations ``(n, …)``.
        likelihood: as of :func:`distribution_of`.
        output: the network's, for all examples or for the first of them.

    Raises:
        InputError: of another shape or type than the likelihood wants, or values that it does not allow; or the likelihood
            cannot take the network's output.
    """
    output = output if len(output) == len(y) else output[:1]
    if not torch.is_inference_mode_enabled():
        output = output.detach().requires_grad_(output.is_floating_point())  # tells which bounds of a support depend on it
    try:
        with torch.enable_grad():
            distribution = distribution_of(likelihood, output)
        event = tuple(distribution.event_shape)
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{name}: the likelihood cannot take the network's output of shape {tuple(output.shape)}: {one_line(error)}"
        ) from error
    if is_classes(distribution) and event == ():
        return _check_classes(name, y, distribution, output)
    base = base_distribution(distribution)
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
    check_support(name, y, distribution, lambda: distribution_of(likelihood, output[:1]))
    return y


def _check_classes(name: str, y: Tensor, distribution: Distribution, output: Tensor) -> Tensor:
    if y.ndim != 1:
        raise InputError(f"{name}: labels of shape {tuple(y.shape)}; they must be (n,) integers")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise InputError(
            f"{name}: labels of type {_type(y)}; they must be integers, unless the likelihood (of a recipe: model.likelihood) "
            "is another than categorical, such as normal"
        )
    if int(y.min()) < 0:
        raise InputError(f"{name}: label {int(y.min())}; labels must be 0 or more")
    base: Any = base_distribution(distribution)
    if distribution.batch_shape != output.shape[:1] or int(y.max()) >= base.logits.shape[-1]:
        raise InputError(
            f"{name}: label {int(y.max())} does not fit the network, whose output for one example has the shape "
            f"{(1, *output.shape[1:])}, of which the likelihood makes {base.logits.shape[-1]} classes; it must be "
            "(1, classes), and labels count from 0 to classes - 1"
        )
    return y.long()


def _type(y: Tensor) -> str:
    return str(y.dtype).removeprefix("torch.")
