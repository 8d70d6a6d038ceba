r"""The exact KL divergence to the log-uniform prior: rational functions with the relative error that each dtype needs.

With x = 1/α = θ²/σ² and u = x/2 the divergence is K = 2∫₀^√u D(t) dt = u ₂F₂(1, 1; 3/2, 2; −u), D the Dawson function, and
2 dK/dx = D(√u)/√u. With r = 1/(x + 10), p = x r and t = 1 − 20 r, which runs from −1 to 1, this file computes

- 2 dK/dx = r S(t) with a relative error of at most 8.1e-7 by the coefficients for float32, 1.3e-10 by those for float64;
- K = ½ log(1 + x) + p² W(t), at most 8.1e-7 and 1.1e-11.

S and W are quotients of polynomials over the whole range of x: there are no joints. ``benchmarks/fit_exact_kl.py`` fitted them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

_SHIFT = 10.0

# fmt: off
# Numerator and denominator of S, then of W: coefficients of powers of t, highest first.
_COEFFICIENTS: dict[torch.dtype, tuple[tuple[float, ...], ...]] = {
    torch.float32: (
        (0.2799776946, -0.7113340011, 2.873057989, -2.34125376, 3.082305176, -1.195331989, 0.7467060656),
        (0.04135944833, 0.211067028, 0.4462470599, 0.6883464497, 0.3965150736, 0.7064705518, -0.07855697454, 0.3226763592),
        (-0.1070039192, 0.4025339011, -0.5109126757, -0.3062595722, 1.57153941, -1.329565172, 1.661263747),
        (-0.09335346682, -0.02474427721, 0.4901407911, 0.4369711962, 0.575322763, 0.7907935059),
    ),
    torch.float64: (
        (0.060040090371084896, -0.51500260699103495, 2.0955414596452901, -5.090017328849572, 8.528412263515186,
         -10.247648165789018, 9.2332227142614549, -6.2158872010838193, 3.0930946733843641, -1.0310855187452859,
         0.18970655170399731),
        (0.00037741388734957582, 0.0035234406037716326, -0.001136768795390708, 0.055428363392564961, -0.1410987159676651,
         0.4155872172400662, -0.74166742661771679, 1.0575977824196603, -1.0469752647109267, 0.7510561081737811,
         -0.33429370050802065, 0.081978482291977239),
        (-0.031984743617939779, 0.21342872226679446, -0.44339938157485065, 0.55829827011203081, 1.1879785241594991,
         -2.3675626481182981, 3.3247912682311336, -0.19352879423361458, -2.6908179945417188, 4.5210412163672826,
         -2.8901209145598505, 1.0808557792979552),
        (0.038366013493160267, 0.091788754403374639, 0.2813867811510633, 0.51608922363255161, 0.26203792051609387,
         0.75170265456718655, 0.75564346331375853, -0.40430370091656875, 0.87762279562960011, 0.47698640508835782,
         -0.58965196576347823, 0.5145068198813072),
    ),
}
# fmt: on


@lru_cache
def _polynomials(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, list[tuple[float, list[Tensor]]]]:
    """Return 1, and for each polynomial its leading coefficient and the others: tensors, for which one operation is a step."""
    tables = _COEFFICIENTS[torch.float64 if dtype == torch.float64 else torch.float32]
    one, *rest = ([torch.tensor(c, dtype=dtype, device=device) for c in table] for table in ([1.0], *tables))
    return one[0], [(table[0], coefficients[1:]) for table, coefficients in zip(tables, rest, strict=True)]


def _horner(polynomial: tuple[float, list[Tensor]], t: Tensor, out: Tensor) -> Tensor:
    """Evaluate a polynomial in ``t`` into ``out``."""
    leading, (second, *others) = polynomial
    torch.add(second, t, alpha=leading, out=out)
    for c in others:
        torch.addcmul(c, out, t, out=out)
    return out


def exact_slope(inverse_alpha: Tensor, slope: Tensor, scratch: Sequence[Tensor]) -> None:
    """Write 2 dK/dx at x = 1/α into ``slope``; leave r and t in the first two of three buffers for :func:`add_exact_value`."""
    r, t, denominator = scratch
    one, (numerator_s, denominator_s, _, _) = _polynomials(slope.dtype, slope.device)
    torch.add(inverse_alpha, _SHIFT, out=r).reciprocal_()
    torch.add(one, r, alpha=-2 * _SHIFT, out=t)
    _horner(numerator_s, t, slope).mul_(r).div_(_horner(denominator_s, t, denominator))


def add_exact_value(inverse_alpha: Tensor, value: Tensor, scratch: Sequence[Tensor]) -> None:
    """Add 2 p² W to ``value``, with r and t in the first two of four buffers, as :func:`exact_slope` leaves them."""
    r, t, numerator, denominator = scratch
    _, (_, _, numerator_w, denominator_w) = _polynomials(value.dtype, value.device)
    p = r.mul_(inverse_alpha)
    _horner(numerator_w, t, numerator).div_(_horner(denominator_w, t, denominator)).mul_(p)
    value.addcmul_(numerator, p, value=2)
