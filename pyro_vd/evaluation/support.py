"""Checks for impossible observations: outside of a distribution's support, or where its density is 0 or infinite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from pyro_vd._core.errors import InputError


def check_support(name: str, y: Tensor, distribution: Distribution, of_first: Callable[[], Distribution]) -> None:
    """Refuse observations that are impossible under the distribution of the network's output.

    The support of the first examples is used for all, unless it depends on the network's output.

    Args:
        name: what the observations are called in an error.
        y: observations ``(n, …)`` of a floating-point type.
        distribution: the distribution of the first examples or of all; parameters that depend on the network's output require a
            gradient.
        of_first: returns the distribution of the first example.

    Raises:
        InputError: quoting the first impossible observation, and the support.
    """
    base: Any = distribution
    while isinstance(base, Independent):
        base = base.base_dist
    fits = torch.isfinite(y).reshape(len(y), -1).all(1)
    allowed = "finite numbers"
    with contextlib.suppress(NotImplementedError, AttributeError):  # a user's distribution may have no support
        support: Any = distribution.support
        bounds = [bound for bound in vars(base.support).values() if isinstance(bound, Tensor)]
        compared = slice(len(y) if not any(bound.requires_grad for bound in bounds) else distribution.batch_shape[0])
        allowed = _in_words(base.support)
        fits[compared] &= support.check(y[compared].to(_device(distribution, y)).nan_to_num()).to(y.device)
    if bool(fits.all()):
        fits = _has_probability(y, of_first)
        allowed += ", with a density that is neither 0 nor infinite"
    if not bool(fits.all()):
        first = int((~fits).nonzero()[0])
        numbers = _offending(y[first], base)
        raise InputError(
            f"{name}: observation {shown_numbers(numbers)} in example {first}; a {type(base).__name__} likelihood needs "
            f"{allowed}",
            name=name,
            value=numbers if len(numbers) > 1 else numbers[0],
            allowed=allowed,
        )


def _has_probability(y: Tensor, of_first: Callable[[], Distribution]) -> Tensor:
    """Return False where log p is not finite, but True everywhere if it is finite nowhere, which is the output's fault."""
    try:
        distribution = of_first()
        finite = torch.isfinite(distribution.log_prob(y.to(_device(distribution, y)))).to(y.device)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError):
        return torch.ones(len(y), dtype=torch.bool, device=y.device)
    return finite if bool(finite.any()) else torch.ones_like(finite)


def parameter_of(distribution: Distribution) -> Tensor | None:
    """Return a floating-point tensor of a distribution, or of one inside it, for its type and device; None if none has one."""
    for value in vars(distribution).values():
        found = parameter_of(value) if isinstance(value, Distribution) else value
        if isinstance(found, Tensor) and found.is_floating_point():
            return found
    return None


def _device(distribution: Distribution, y: Tensor) -> torch.device:
    """Return the device of the distribution's parameters."""
    found = parameter_of(distribution)
    return y.device if found is None else found.device


def _offending(value: Tensor, base: Any) -> tuple[float, ...]:
    """Return the first number that is outside of the support, or all numbers of the observation if no single one is."""
    if value.numel() > 1 and base.event_shape == ():
        inside = torch.isfinite(value)
        with contextlib.suppress(NotImplementedError, AttributeError, RuntimeError):
            inside &= base.support.check(value.nan_to_num()).reshape(value.shape)
        if not bool(inside.all()):
            value = value[~inside].flatten()[0]
    return tuple(value.flatten().tolist())


def shown_numbers(numbers: tuple[float, ...]) -> str:
    """Return one number, or the first five numbers, as text."""
    shown = ", ".join(f"{number:g}" for number in numbers[:5])
    return shown if len(numbers) == 1 else f"({shown}{', …' if len(numbers) > 5 else ''})"


def _in_words(support: Any) -> str:
    """Return the numbers that a constraint allows, in words."""
    if isinstance(support, constraints.independent):
        return _in_words(support.base_constraint)
    kind = type(support).__name__
    low, high = (_number(getattr(support, f"{end}_bound", None)) for end in ("lower", "upper"))
    whole = "whole numbers" if "integer" in kind.lower() else "numbers"
    match kind.lower().strip("_"):
        case "real":
            return "finite numbers"
        case "boolean":
            return "0 or 1"
        case "simplex":
            return "numbers of at least 0 whose sum is 1"
        case "onehot":
            return "zeros and a single 1"
        case "greaterthan":
            return f"{whole} above {low}"
        case "greaterthaneq" | "integergreaterthan":
            return f"{whole}, {low} or more"
        case "lessthan" | "integerlessthan":
            return f"{whole} up to {high}"
        case "interval" | "integerinterval":
            return f"{whole} from {low} to {high}"
        case "halfopeninterval":
            return f"{whole} from {low} to below {high}"
    return str(support)


def _number(bound: Any) -> str:
    bound = bound.detach() if isinstance(bound, Tensor) else bound
    if isinstance(bound, Tensor) and bound.numel() > 1 and bool((bound == bound.flatten()[0]).all()):
        bound = bound.flatten()[0]
    if isinstance(bound, Tensor) and bound.numel() > 1:
        return "its bound"
    return f"{float(bound):g}" if bound is not None else ""
