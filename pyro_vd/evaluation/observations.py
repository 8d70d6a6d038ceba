"""Observations of a likelihood: classes, zeros and ones, numbers, or several of these. Needs only torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean, examples_of_shape, one_line, type_name
from pyro_vd.evaluation.class_checks import check_classes
from pyro_vd.evaluation.class_labels import base_distribution, is_classes
from pyro_vd.evaluation.selection import observation_of, of_part
from pyro_vd.evaluation.structured import VALUE, WEIGHT, JointDistribution, WeightedDistribution, without_weights
from pyro_vd.evaluation.support import check_support, parameter_of
from pyro_vd.networks.inputs import map_tensors, num_examples, rows, tensors_in, to_device

Observed = Callable[[Any], Distribution]
"""A likelihood: maps the network's output ``(n, …)``, in any form, to a distribution with batch shape ``(n,)``."""


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


def check_observations(name: str, y: Any, likelihood: Observed | None, output: Any) -> Any:
    """Return the observations in the form that the likelihood needs.

    Classes become int64, numbers the type of the distribution; a column ``(n, 1)`` becomes ``(n,)`` if the likelihood needs
    that.

    Args:
        name: what the observations are called in an error.
        y: observations ``(n, …)``; for several heads a mapping of them, and with weights a mapping of ``y`` and ``weight``.
        likelihood: see :func:`distribution_of`.
        output: the network's output for all examples or for the first ones.

    Raises:
        InputError: the observations have a shape, a type or values that the likelihood does not allow; or the likelihood cannot
            be applied to the network's output.
    """
    if num_examples(output) != num_examples(y, name):
        output = rows(output, slice(1))
    if not torch.is_inference_mode_enabled():  # the gradient shows which bounds of a support depend on the output
        output = map_tensors(lambda part: part.detach().requires_grad_(part.is_floating_point()), output)
    shape = tuple(output.shape) if isinstance(output, Tensor) else [tuple(part.shape) for part in tensors_in(output)]
    try:
        with torch.enable_grad():
            distribution = distribution_of(likelihood, output)
        _ = distribution.event_shape
    except InputError:
        raise
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{name}: the likelihood cannot take the network's output of shape {shape}: {one_line(error)}",
            name=name,
            value=shape,
        ) from error
    of_first = _Lazy(lambda: distribution_of(likelihood, rows(output, slice(1))))
    return _checked(name, y, distribution, of_first, output)


class _Lazy:
    """The distribution of the first example, or that of one of its parts, which is made where it is needed."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def head(self, key: str) -> _Lazy:
        return _Lazy(lambda: self.make().heads[key])


def _checked(name: str, y: Any, distribution: Distribution, of_first: _Lazy, output: Any) -> Any:
    """Return the observations of a distribution, or of its heads, in the form that it needs."""
    if isinstance(distribution, JointDistribution):
        heads = distribution.heads
        _check_keys(name, y, heads, required=())
        return {key: _checked(f"{name}, {key}", part, heads[key], of_first.head(key), output) for key, part in y.items()}
    if isinstance(distribution, WeightedDistribution):
        if isinstance(y, Mapping):
            _check_keys(name, y, (VALUE, WEIGHT), required=(VALUE, WEIGHT))
        value, weight = without_weights(y)
        value = _checked(name, value, distribution.base, _Lazy(lambda: of_first.make().base), output)
        return value if weight is None else {VALUE: value, WEIGHT: _check_weight(name, weight, value)}
    if not isinstance(y, Tensor):
        allowed = "one tensor for this likelihood; a mapping needs a mapping of likelihoods, or Weighted(likelihood)"
        raise InputError(name=name, value=type(y).__name__, allowed=allowed)
    shape = tuple(output.shape) if isinstance(output, Tensor) else ()
    if is_classes(distribution):
        return check_classes(name, y, distribution, num_examples(output), (1, *shape[1:]))
    return _check_numbers(name, y, distribution, of_first, shape)


def _check_keys(name: str, y: Any, allowed: Any, required: tuple[str, ...]) -> None:
    keys = list(allowed)
    if not isinstance(y, Mapping) or not y or not set(required) <= set(y) <= set(keys):
        given = list(y) if isinstance(y, Mapping) else type(y).__name__
        wrong = next((key for key in given if key not in keys), "") if isinstance(given, list) else ""
        raise InputError(
            f"{name}: observations are {given}; they must be a mapping of {', '.join(keys)}{did_you_mean(wrong, keys)}",
            name=name,
            value=given,
            allowed=f"a mapping of {', '.join(keys)}",
        )


def _check_weight(name: str, weight: Any, y: Any) -> Tensor:
    """Return the weights of examples, as the numbers of a likelihood are."""
    n = num_examples(y)
    if not isinstance(weight, Tensor) or tuple(weight.shape) != (n,) or weight.is_complex():
        given = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise InputError(name=f"{name}, {WEIGHT}", value=given, allowed=f"one number per example, of shape ({n},)")
    wrong = ~weight.isfinite() | (weight < 0)
    if bool(wrong.any()) or not bool((weight > 0).any()):
        value = weight[wrong][0].item() if bool(wrong.any()) else 0.0
        allowed = "finite numbers of at least 0, at least one of them above 0"
        raise InputError(name=f"{name}, {WEIGHT}", value=value, allowed=allowed)
    return weight if weight.is_floating_point() else weight.to(torch.get_default_dtype())


def _check_numbers(name: str, y: Tensor, distribution: Distribution, of_first: _Lazy, output_shape: tuple[int, ...]) -> Tensor:
    event = tuple(distribution.event_shape)
    kind = type(base_distribution(distribution)).__name__
    if event == () and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if tuple(y.shape[1:]) != event:
        wanted = examples_of_shape(event)
        of_output = f" of the network's output, whose shape is {output_shape}," if output_shape else ""
        raise InputError(
            f"{name}: observations of shape {tuple(y.shape)}; a {kind} likelihood{of_output} needs the shape {wanted}",
            name=name,
            value=tuple(y.shape),
            allowed=f"of shape {wanted}",
        )
    if y.dtype == torch.bool or y.is_complex():
        raise InputError(
            f"{name}: observations of type {type_name(y.dtype)}; a {kind} likelihood needs integers or floating-point numbers",
            name=name,
            value=y.dtype,
            allowed="integers or floating-point numbers",
        )
    found = parameter_of(distribution)
    y = y.to(torch.get_default_dtype() if found is None else found.dtype)
    check_support(name, y, distribution, of_first.make)
    return y
