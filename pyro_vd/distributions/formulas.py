"""The KLs of :mod:`.kl` as plain formulas, for a compiler, which computes each in one pass over the weights.

Without a compiler, every operation in them would be a pass over memory of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from pyro_vd.distributions.exact_kl import _COEFFICIENTS, _SHIFT
from pyro_vd.distributions.kl import _K1, _K2, _K3, MAX, TINY


def value_and_slope(form: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return 2 K and 2 K' at x = 1/α > 0.

    Args:
        form: "approximate", "exact" or "ard".
        x: 1/α, of any shape.
    """
    if form == "exact":
        s_above, s_below, w_above, w_below = _COEFFICIENTS[torch.float64 if x.dtype == torch.float64 else torch.float32]
        r = 1 / (x + _SHIFT)
        t = 1 - 2 * _SHIFT * r
        slope = r * _polynomial(s_above, t) / _polynomial(s_below, t)
        return (x + 1).log() + 2 * (x * r).square() * _polynomial(w_above, t) / _polynomial(w_below, t), slope
    value, slope = (x + 1).log(), 1 / (x + 1)
    if form == "approximate":
        gate = torch.sigmoid(_K3 * x.log() - _K2)
        value, slope = value + 2 * _K1 * gate, slope + 2 * _K1 * _K3 * (gate - gate.square()) / x
    return value, slope


def _polynomial(coefficients: Sequence[float], t: Tensor) -> Tensor:
    """Evaluate a polynomial; coefficients of the highest powers come first."""
    leading, *others = coefficients
    return reduce(lambda value, c: value * t + c, others, torch.full_like(t, leading))


def closed_gradients(
    form: str, theta: Tensor, variance: Tensor, of_theta: Tensor | None, of_variance: Tensor | None, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of data term + ``weight`` · KL with respect to θ and log σ², and the KL in nats.

    Args:
        form: see :func:`value_and_slope`.
        theta: θ.
        variance: σ², of the same shape.
        of_theta: the gradient of the data term with respect to θ; None is 0.
        of_variance: that with respect to σ², likewise.
        weight: β, a scalar.
    """
    over_variance = (theta / variance).clamp(-MAX, MAX)
    inverse_alpha = (theta * over_variance).clamp(TINY, MAX)
    value, slope = value_and_slope(form, inverse_alpha)
    by_theta, by_log_sigma2 = weight * slope * over_variance, -0.5 * weight * slope * inverse_alpha
    if of_theta is not None:
        by_theta = of_theta + by_theta
    if of_variance is not None:
        by_log_sigma2 = of_variance * variance + by_log_sigma2
    return by_theta, by_log_sigma2, 0.5 * value.sum()
