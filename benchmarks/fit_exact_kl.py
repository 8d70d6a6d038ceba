"""Fit the rational functions of ``pyro_vd/distributions/exact_kl.py`` and print their coefficients with their largest errors.

With u = 1/(2α) the exact KL divergence is V(u) = u ₂F₂(1, 1; 3/2, 2; −u), and V' = D(√u)/√u with D the Dawson function. With
x = 2u, r = 1/(x + 10) and p = x r, this program fits S = V'/r and W = (V − ½ log(1 + x))/p², each by a quotient of two
polynomials in t = 1 − 20 r, which runs from −1 to 1. The errors are those of V' and V, relative, against mpmath at 30 digits.

The fit is a sequence of linear least-squares problems N − F Q ≈ 0, weighted by 1/Q of the step before (Sanathanan and
Koerner 1963) and towards the largest error (Lawson 1961), in Chebyshev polynomials. Run ``python benchmarks/fit_exact_kl.py``;
it takes about ten seconds.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.polynomial.chebyshev import chebvander

SHIFT = 10  # larger or smaller ones lose digits: coefficients of alternating signs cancel at one end
FITS = {"float32": ((6, 7), (6, 5)), "float64": ((10, 11), (11, 11))}
"""For each dtype the degrees of numerator and denominator of S and of W."""


def exact(x: Any) -> tuple[Any, Any]:
    """V and V' at u = x/2 as numbers of mpmath, with its precision of the moment; above u = 4000 by their asymptotic series."""
    u = mpmath.mpf(x) / 2
    if u < 4000:
        root = mpmath.sqrt(u)
        dawson = mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(-u) * mpmath.erfi(root)
        return u * mpmath.hyp2f2(1, 1, mpmath.mpf(3) / 2, 2, -u), dawson / root
    terms = [1 / (2 * u)]  # of V': (2k − 1)!! / (2u)^(k + 1)
    for k in range(1, 30):
        terms.append(terms[-1] * (2 * k - 1) / (2 * u))
    limit = (mpmath.log(2 * u) + mpmath.euler + mpmath.log(2)) / 2
    return limit - sum(u * term / k for k, term in enumerate(terms) if k), sum(terms)


def quotient(
    values: np.ndarray, weight: np.ndarray, t: np.ndarray, degrees: tuple[int, int]
) -> tuple[float, list[list[float]]]:
    """Fit N/Q ≈ ``values``; return the largest weighted error, and the coefficients by powers of t, highest first."""
    numerator, denominator = (chebvander(t, degree) for degree in degrees)
    q, lawson = np.ones(len(t)), np.ones(len(t))
    best: tuple[float, list[list[float]]] = (np.inf, [])
    for _ in range(60):
        row = weight / np.abs(q) * np.sqrt(lawson)
        matrix = np.hstack([row[:, None] * numerator, -(row * values)[:, None] * denominator[:, 1:]])
        solution = np.linalg.lstsq(matrix, row * values, rcond=1e-16)[0]
        parts = solution[: degrees[0] + 1], np.concatenate([[1], solution[degrees[0] + 1 :]])
        q = denominator @ parts[1]
        errors = np.abs(numerator @ parts[0] / q - values) * weight
        if (q > 0).all() and errors.max() < best[0]:
            powers = [Chebyshev(part).convert(kind=Polynomial).coef[::-1].tolist() for part in parts]
            best = float(errors.max()), powers
        lawson = np.maximum(lawson * np.sqrt(errors / errors.max() + 1e-3), 1e-9)
        lawson /= lawson.max()
    return best


def main() -> None:
    mpmath.mp.dps = 30
    x = np.exp(np.linspace(-14, 14, 800))
    value, slope = zip(*map(exact, x), strict=True)
    correction = np.array([float(v - mpmath.log1p(z) / 2) for v, z in zip(value, x, strict=True)])  # its digits would cancel
    v, dv = np.array(value, dtype=float), np.array(slope, dtype=float)
    r = 1 / (x + SHIFT)
    t, p = 1 - 2 * SHIFT * r, x * r
    for dtype, (of_slope, of_value) in FITS.items():
        for name, fit in {
            "slope": quotient(dv / r, r / dv, t, of_slope),
            "value": quotient(correction / p**2, p**2 / v, t, of_value),
        }.items():
            print(f"# {dtype}, {name}: largest relative error {fit[0]:.1e}")
            for part in fit[1]:
                print("[" + ", ".join(f"{c:.10g}" if dtype == "float32" else f"{c:.17g}" for c in part) + "],")


if __name__ == "__main__":
    main()
