"""Observations that a distribution gives no probability: outside of its support, or where its density is 0 or infinite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from pyro_vd._core.errors import InputError


def check_support(name: str, y: Tensor, distribution: Distribution, of_first: Callable[[], Distribution]) -> None:
    """Refuse observations that a distribution of the network's output cannot give.

    A distribution of the first example stands for all, unless its support depends on what is learnt or on the inputs.

    Args:
        name: what the observations are called in an error.
        y: observations ``(n, …)`` of a floating-point type.
        distribution: of the first example or of all; its parameters require a gradient where they are not constant.
        of_first: gives that of the first.

    Raises:
        InputError: quoting the first such observation, and the support.
    """
    base: Any = distribution
    while isinstance(base, Independent):
        base = base.base_dist
    fits = torch.isfinite(y).reshape(len(y), -1).all(1)
    allowed = "finite numbers"
    with contextlib.suppress(NotImplementedError, AttributeError):  # a distribution of one's own may not say
        support: Any = distribution.support
        bounds = [bound for bound in vars(base.support).values() if isinstance(bound, Tensor)]
        compared = slice(len(y) if not any(bound.requires_grad for bound in bounds) else distribution.batch_shape[0])
        allowed = _in_words(base.support)
        fits[compared] &= support.check(y[compared].to(_device(distribution, y)).nan_to_num()).to(y.device)
    if bool(fits.all()):
        fits = _has_probability(y, of_first)
        allowed += ", and this one has a density of 0 or infinity"
    if not bool(fits.all()):
        first = int((~fits).nonzero()[0])
        raise InputError(
            f"{name}: observation {_offending(y[first], base)} in example {first}; a {type(base).__name__} likelihood wants "
            f"{allowed}"
        )


def _has_probability(y: Tensor, of_first: Callable[[], Distribution]) -> Tensor:
    """False where log p is not finite, though it is for other observations: else the output is at fault, which changes."""
    try:
        distribution = of_first()
        finite = torch.isfinite(distribution.log_prob(y.to(_device(distribution, y)))).to(y.device)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError):
        return torch.ones(len(y), dtype=torch.bool, device=y.device)
    return finite if bool(finite.any()) else torch.ones_like(finite)


def _device(distribution: Distribution, y: Tensor) -> torch.device:
    """Where the distribution's parameters are."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return next((value.device for value in vars(distribution).values() if isinstance(value, Tensor)), y.device)


def _offending(value: Tensor, base: Any) -> str:
    """The number that is outside, as far as one is by itself; several are shown as they are."""
    if value.numel() > 1 and base.event_shape == ():
        inside = torch.isfinite(value)
        with contextlib.suppress(NotImplementedError, AttributeError, RuntimeError):
            inside &= base.support.check(value.nan_to_num()).reshape(value.shape)
        if not bool(inside.all()):
            value = value[~inside].flatten()[0]
    shown = ", ".join(f"{number:g}" for number in value.flatten()[:5].tolist())
    return shown if value.numel() == 1 else f"({shown}{', …' if value.numel() > 5 else ''})"


def _in_words(support: Any) -> str:
    """What a constraint allows."""
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
