r"""KL(q‖prior) per weight of a multiplicative-normal posterior, with gradients in closed form.

Every KL in this file is a function K of 1/α = θ²/σ² only, normalised so that K → 0 as α → ∞:

- ARD: K = ½ log(1 + 1/α) (Kharitonov 2018, arXiv 1811.00596, eq. 8);
- approximate: ARD + k1 · σ(−k2 − k3 log α) (Molchanov 2017, arXiv 1701.05369, eq. 14);
- exact: 2∫₀^√u D(t) dt with u = 1/(2α) and D the Dawson function, by rational functions; see
  :mod:`pyro_vd.distributions.exact_kl`.

With K' = dK/d(1/α) the gradients are ∂K/∂log σ² = −K'/α and ∂K/∂θ = 2 K' θ/σ². They contain
no division by θ and no derivative of log θ², so θ = 0 is an ordinary point. Autograd through log θ² would compute 0 · ∞ at
θ = 0, which causes the NaN of other implementations of this method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all

from pyro_vd.distributions.exact_kl import add_exact_value, exact_slope
from pyro_vd.distributions.parts import parts

Form = Callable[[Tensor, Tensor, Tensor, Sequence[Tensor]], None]
"""Function of 1/α that writes 2 K into the second tensor and 2 K' into the third, with four buffers."""

_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695
LOG2_E = math.log2(math.e)
MAX_LOG_SIGMA2 = 80.0  # log σ² beyond ±80 counts as ±80: e^±80 is an ordinary number in float32
MAX = 1e36  # largest θ/σ² and 1/α, so that products with them do not overflow float32
TINY = 1e-30
_MANY = 1 << 12


def _log1p(x: Tensor, out: Tensor, above_one: Tensor) -> None:
    """Write log(1 + x) into ``out`` for x ≥ 0, with a second buffer: six times as fast as torch.log1p on the CPU.

    It is x log(w)/(w − 1) with w = 1 + x after rounding (Kahan, in Goldberg 1991, theorem 4), where w = 1 gives x.
    """
    torch.add(x, 1, out=above_one)
    torch.log(above_one, out=out)
    out.add_(TINY).div_(above_one.sub_(1).add_(TINY)).mul_(x)


def _ard(inverse_alpha: Tensor, value: Tensor, slope: Tensor, _: Sequence[Tensor]) -> None:
    """Write the ARD KL."""
    _log1p(inverse_alpha, value, slope)
    torch.add(inverse_alpha, 1, out=slope).reciprocal_()


def _approximate(inverse_alpha: Tensor, value: Tensor, slope: Tensor, scratch: Sequence[Tensor]) -> None:
    """Write the KL of Molchanov 2017, eq. 14."""
    _ard(inverse_alpha, value, slope, scratch)
    guarded, gate = scratch[:2]
    torch.clamp_min(inverse_alpha, TINY, out=guarded)
    _gate(guarded, gate)
    value.add_(gate, alpha=2 * _K1)
    _add_slope(guarded, gate, slope)


def _gate(inverse_alpha: Tensor, out: Tensor) -> None:
    """Write 1 − σ(k2 + k3 log α)."""
    torch.log(inverse_alpha, out=out)
    torch.add(_minus_k2(out.dtype, out.device), out, alpha=_K3, out=out).sigmoid_()


def _add_slope(inverse_alpha: Tensor, gate: Tensor, slope: Tensor) -> None:
    """Add 2 (K' − K'_ARD) to ``slope``; ``gate`` is changed."""
    torch.addcmul(gate, gate, gate, value=-1, out=gate)
    slope.addcdiv_(gate, inverse_alpha, value=2 * _K1 * _K3)


@lru_cache
def _minus_k2(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return −k2 as a tensor, so that one operation computes −k2 + k3 x."""
    return torch.tensor(-_K2, dtype=dtype, device=device)


def _exact(inverse_alpha: Tensor, value: Tensor, slope: Tensor, scratch: Sequence[Tensor]) -> None:
    """Write the exact log-uniform KL."""
    _log1p(inverse_alpha, value, slope)
    exact_slope(inverse_alpha, slope, scratch[:3])
    add_exact_value(inverse_alpha, value, scratch)


NUM_BUFFERS: dict[str, int] = {"approximate": 1, "ard": 1, "exact": 5}
"""How many buffers :func:`sum_and_slope` needs, by form."""


def sum_and_slope(form: str, inverse_alpha: Tensor, slope: Tensor, scratch: Sequence[Tensor]) -> float | Tensor:
    """Return the sum of 2 K, a number on the CPU, and write 2 K' into ``slope``, with :data:`NUM_BUFFERS` buffers.

    The sum is that of logarithms of 1 + 1/α, rounded: one rounding is lost in the sum, which a single value would show.

    Args:
        form: "approximate", "exact" or "ard".
        inverse_alpha: 1/α > 0.
    """
    value, *rest = scratch
    torch.add(inverse_alpha, 1, out=slope)
    total = _sum_of_logs(slope, value)
    if form == "exact":
        exact_slope(inverse_alpha, slope, rest[:3])
        add_exact_value(inverse_alpha, value.zero_(), rest)
        return total + _sum(value)
    slope.reciprocal_()
    if form == "approximate":
        _gate(inverse_alpha, value)
        total = total + 2 * _K1 * _sum(value)
        _add_slope(inverse_alpha, value, slope)
    return total


def _sum(values: Tensor) -> float | Tensor:
    return values.sum().item() if values.device.type == "cpu" else values.sum()


def _sum_of_logs(values: Tensor, scratch: Tensor) -> float | Tensor:
    """Return the sum of the logarithms of values ≥ 1: of many, on the CPU, those of products of eight, an eighth as many."""
    quarter = len(values) // 8 * 2
    if quarter < _MANY or values.device.type != "cpu":
        return _sum(torch.log(values, out=scratch))
    products = torch.mul(values[: 2 * quarter], values[2 * quarter : 4 * quarter], out=scratch[: 2 * quarter])
    for size in (quarter, quarter // 2):
        products = products[:size].mul_(products[size:])
    total: float = products.log_().sum().item() + values[4 * quarter :].log().sum().item()
    return total if math.isfinite(total) else torch.log(values, out=scratch).sum().item()


def _evaluate(form: Form, theta: Tensor, log_sigma2: Tensor, out: Sequence[Tensor], scratch: Sequence[Tensor]) -> None:
    """Write K, ∂K/∂θ and ∂K/∂log σ² into ``out``; ``theta`` and ``log_sigma2`` are flat, of the same size.

    :func:`_reference` computes the same in five lines, without the reuse of buffers.
    """
    value, grad_theta, grad_log_sigma2 = out
    inverse_alpha, *rest = scratch
    slope = inverse_variance = grad_log_sigma2  # the same buffer, used one after another
    torch.clamp(log_sigma2, -MAX_LOG_SIGMA2, MAX_LOG_SIGMA2, out=inverse_variance)
    inverse_variance.mul_(-LOG2_E).exp2_()  # faster than exp
    torch.mul(theta, inverse_variance, out=grad_theta).clamp_(-MAX, MAX)
    torch.mul(theta, grad_theta, out=inverse_alpha).clamp_max_(MAX)
    form(inverse_alpha, value, slope, rest)
    value.mul_(0.5)
    grad_theta.mul_(slope)
    slope.mul_(inverse_alpha).mul_(-0.5)


def _reference(theta: Tensor, log_sigma2: Tensor, k1: float = _K1) -> tuple[Tensor, Tensor, Tensor]:
    """Return K, ∂K/∂θ and ∂K/∂log σ² by the formula, for readers and for a test of :func:`_evaluate`; θ must not be 0.

    K = ½ log(1 + 1/α) + k1 (1 − σ(k2 + k3 log α)), the negative of Molchanov 2017 (arXiv 1701.05369), eq. 14, up to its
    constant. With k1 = 0 it is the ARD KL, which :func:`_evaluate` computes, too.
    """
    log_alpha = log_sigma2 - 2 * theta.abs().log()
    gate = torch.sigmoid(-_K2 - _K3 * log_alpha)
    value = 0.5 * torch.log1p(torch.exp(-log_alpha)) + k1 * gate
    slope = -0.5 * torch.sigmoid(-log_alpha) - k1 * _K3 * gate * (1 - gate)  # dK/d log α
    return value, -2 * slope / theta, slope


class _KL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, log_sigma2: Tensor, form: Form) -> Tensor:
        flat_theta, flat_log_sigma2 = theta.contiguous(), log_sigma2.contiguous()
        out = theta.new_empty(3, theta.numel())
        for (part_of_theta, part_of_log_sigma2, *results), buffers in parts(flat_theta, flat_log_sigma2, *out, buffers=5):
            _evaluate(form, part_of_theta, part_of_log_sigma2, results, buffers)
        value, grad_theta, grad_log_sigma2 = out.view(3, *theta.shape)
        ctx.save_for_backward(grad_theta, grad_log_sigma2)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError("the KL has no second derivative; call without create_graph=True")
        grad_theta, grad_log_sigma2 = ctx.saved_tensors
        return grad * grad_theta, grad * grad_log_sigma2, None


def _kl(form: Form, theta: Tensor, log_sigma2: Tensor) -> Tensor:
    value: Tensor = _KL.apply(*broadcast_all(theta, log_sigma2), form)
    return value


def kl_approximate(theta: Tensor, log_sigma2: Tensor) -> Tensor:
    """Return KL(q‖log-uniform) in nats per weight by Molchanov 2017, eq. 14, whose error is at most 0.0094.

    Args:
        theta: posterior mean θ, any shape.
        log_sigma2: log σ², broadcast against ``theta``; of the same dtype and device.

    Raises:
        RuntimeError: a second derivative is computed.
    """
    return _kl(_approximate, theta, log_sigma2)


def kl_exact(theta: Tensor, log_sigma2: Tensor) -> Tensor:
    """Return KL(q‖log-uniform) in nats per weight, with the relative error of :mod:`pyro_vd.distributions.exact_kl`.

    Args: see :func:`kl_approximate`.

    Raises:
        RuntimeError: a second derivative is computed.
    """
    return _kl(_exact, theta, log_sigma2)


def kl_ard(theta: Tensor, log_sigma2: Tensor) -> Tensor:
    """Return KL(q‖N(0, 1/τ)) in nats per weight for the optimal τ, ½ log(1 + 1/α) (Kharitonov 2018, eq. 8).

    Args: see :func:`kl_approximate`.

    Raises:
        RuntimeError: a second derivative is computed.
    """
    return _kl(_ard, theta, log_sigma2)
