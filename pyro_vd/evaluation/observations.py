"""Observations of a likelihood: classes, zeros and ones, or numbers. Needs only torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line, type_name
from pyro_vd.evaluation.selection import observation_of, of_part
from pyro_vd.evaluation.support import check_support
from pyro_vd.networks.inputs import to_device

Observed = Callable[[Any], Distribution]
"""A likelihood: maps the network's output ``(n, …)``, in any form, to a distribution with batch shape ``(n,)``."""


def base_distribution(distribution: Distribution) -> Distribution:
    """Return the distribution of one number, without the ``Independent`` that ``to_event`` puts around it."""
    return distribution.base_dist if isinstance(distribution, Independent) else distribution


def distribution_of(likelihood: Observed | None, output: Any) -> Distribution:
    """Return the distribution of the observations, on the likelihood's device; None stands for classes from logits.

    Args:
        likelihood: the likelihood; of one of a part of the output, its inner likelihood is used.
        output: the part of the network's output that the likelihood takes, see :func:`~.selection.part_of`.
    """
    likelihood = of_part(likelihood)
    if isinstance(likelihood, nn.Module):
        output = to_device(output, next((tensor.device for tensor in likelihood.state_dict().values()), None))
    return observation_of(likelihood, output)


def check_likelihood(likelihood: object) -> None:
    """Refuse a value that is not a likelihood; None stands for classes from logits.

    Raises:
        InputError: quoting the value.
    """
    if likelihood is not None and (isinstance(likelihood, type) or not callable(likelihood)):
        raise InputError(
            name="likelihood", value=likelihood, allowed="an object that maps an output to a distribution: Normal()"
        )


def is_classes(distribution: Distribution) -> bool:
    """Whether the distribution is that of a class."""
    return isinstance(base_distribution(distribution), Categorical)


def class_labels(y: Tensor) -> Tensor:
    """Return the labels ``(n,)`` for the logits of :func:`~pyro_vd.evaluation.scores.logits_of`."""
    return y.flatten().long()


def check_observations(name: str, y: Tensor, likelihood: Observed | None, output: Tensor) -> Tensor:
    """Return the observations in the form that the likelihood needs.

    Classes become int64, numbers the type of the output; a column ``(n, 1)`` becomes ``(n,)`` if the likelihood needs that.

    Args:
        name: what the observations are called in an error.
        y: observations ``(n, …)``.
        likelihood: see :func:`distribution_of`.
        output: the network's output for all examples or for the first ones.

    Raises:
        InputError: the observations have a shape, a type or values that the likelihood does not allow; or the likelihood cannot
            be applied to the network's output.
    """
    output = output if len(output) == len(y) else output[:1]
    if not torch.is_inference_mode_enabled():
        output = output.detach().requires_grad_(output.is_floating_point())  # shows which bounds of a support depend on it
    try:
        with torch.enable_grad():
            distribution = distribution_of(likelihood, output)
        event = tuple(distribution.event_shape)
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{name}: the likelihood cannot take the network's output of shape {tuple(output.shape)}: {one_line(error)}",
            name=name,
            value=tuple(output.shape),
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
            f"{tuple(output.shape)}, needs the shape ({wanted})",
            name=name,
            value=tuple(y.shape),
            allowed=f"of shape ({wanted})",
        )
    if y.dtype == torch.bool or y.is_complex():
        raise InputError(
            f"{name}: observations of type {type_name(y.dtype)}; a {kind} likelihood needs integers or floating-point numbers",
            name=name,
            value=y.dtype,
            allowed="integers or floating-point numbers",
        )
    y = y.to(output.dtype)
    check_support(name, y, distribution, lambda: distribution_of(likelihood, output[:1]))
    return y


def _check_classes(name: str, y: Tensor, distribution: Distribution, output: Tensor) -> Tensor:
    if y.ndim != 1:
        raise InputError(
            f"{name}: labels of shape {tuple(y.shape)}; they must be integers of shape (n,)",
            name=name,
            value=tuple(y.shape),
            allowed="of shape (n,)",
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise InputError(
            f"{name}: labels of type {type_name(y.dtype)}; they must be integers. For numbers use another likelihood, such as "
            "normal (model.likelihood of a recipe)",
            name=name,
            value=y.dtype,
            allowed="integers",
        )
    if int(y.min()) < 0:
        raise InputError(f"{name}: label {int(y.min())}; labels must be >= 0", name=name, value=int(y.min()), allowed=">= 0")
    base: Any = base_distribution(distribution)
    if distribution.batch_shape != output.shape[:1] or int(y.max()) >= base.logits.shape[-1]:
        raise InputError(
            f"{name}: label {int(y.max())} does not fit the network, whose output for one example has the shape "
            f"{(1, *output.shape[1:])}, from which the likelihood makes {base.logits.shape[-1]} classes; the shape must be "
            "(1, classes), and labels must be from 0 to classes - 1",
            name=name,
            value=int(y.max()),
            allowed=f"from 0 to {base.logits.shape[-1] - 1}",
        )
    return y.long()
