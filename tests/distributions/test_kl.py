"""KL(q‖prior): its values, gradients and limits, each against the mathematics."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import torch
from fit_exact_kl import exact
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from pyro_vd.distributions import exact_kl, kl, parts
from pyro_vd.distributions.kl import kl_approximate, kl_ard, kl_exact
from pyro_vd.distributions.priors import LogUniform
from pyro_vd.distributions.weight_posterior import MultiplicativeNormal

KL = Callable[[Tensor, Tensor], Tensor]
FORMS: list[KL] = [kl_approximate, kl_exact, kl_ard]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
every_dtype = pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-8), (torch.float32, 1e-5)], ids=["float64", "float32"]
)

# Computed with mpmath at 30 digits.
LOG_ALPHA = [-10.0, -8.0, -3.0, 0.0, 1.0, 3.0, 5.0, 8.0]
EXACT = [5.63515872, 4.63501361, 2.10797831, 0.426685604, 0.173193859, 0.0246883354, 0.00336519357, 1.67721936e-4]
EXACT_SLOPE = [-0.500022703, -0.5001679, -0.530211772, -0.36238923, -0.162959641, -0.0244844934, -0.00336141703, -1.67712559e-4]
APPROXIMATE = [5.63578126, 4.63589948, 2.11559022, 0.431238951, 0.17796972, 0.0254200433, 0.00341533263, 1.68369347e-4]
ARD = [5.0000227, 4.0001677, 1.52429368, 0.34657359, 0.156630844, 0.0242936758, 0.00335767424, 1.67703186e-4]


def at_log_alpha(log_alpha: Tensor, theta: float = 1.0) -> tuple[Tensor, Tensor]:
    return torch.full_like(log_alpha, theta), log_alpha + 2 * math.log(abs(theta))


def grid(low: float, high: float, steps: int = 401) -> Tensor:
    return torch.linspace(low, high, steps, dtype=torch.float64)


def gradients(form: KL, theta: Tensor, log_sigma2: Tensor) -> tuple[Tensor, Tensor]:
    inputs = theta.clone().requires_grad_(), log_sigma2.clone().requires_grad_()
    return torch.autograd.grad(form(*inputs).sum(), inputs)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-8), (torch.float32, 1e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_values_and_slope_equal_the_table(dtype: torch.dtype, rtol: float, device: str) -> None:
    posterior = at_log_alpha(torch.tensor(LOG_ALPHA, dtype=dtype, device=device))
    for form, values in ((kl_exact, EXACT), (kl_approximate, APPROXIMATE), (kl_ard, ARD)):
        torch.testing.assert_close(form(*posterior), posterior[0].new_tensor(values), rtol=rtol, atol=0)
    slope = gradients(kl_exact, *posterior)[1]
    torch.testing.assert_close(slope, slope.new_tensor(EXACT_SLOPE), rtol=rtol, atol=0)


def test_exact_value_equals_the_dawson_integral_everywhere() -> None:
    log_alpha = grid(-14, 30, 89)
    roots = np.sqrt(0.5 * np.exp(-log_alpha.numpy()))
    integrals = [2 * scipy.integrate.quad(scipy.special.dawsn, 0, r, epsabs=0, epsrel=1e-12, limit=1000)[0] for r in roots]
    torch.testing.assert_close(
        kl_exact(*at_log_alpha(log_alpha)), torch.tensor(integrals, dtype=torch.float64), rtol=1e-10, atol=0
    )


@pytest.mark.parametrize(
    ("dtype", "slope_error", "value_error"), [(torch.float32, 8.2e-7, 8.2e-7), (torch.float64, 1.4e-10, 1.2e-11)]
)
def test_coefficients_of_the_exact_kl_have_their_stated_error(
    dtype: torch.dtype, slope_error: float, value_error: float
) -> None:
    """Evaluated in float64, with no more than ⅒ of the error from rounding; between the points of the fit, too."""
    x = np.exp(np.linspace(-40, 40, 1201))
    value, slope = (np.array(part, dtype=float) for part in zip(*map(exact, x), strict=True))
    r = 1 / (x + 10)
    numerator_s, denominator_s, numerator_w, denominator_w = (np.polyval(c, 1 - 20 * r) for c in exact_kl._COEFFICIENTS[dtype])
    np.testing.assert_allclose(r * numerator_s / denominator_s, slope, rtol=slope_error)
    np.testing.assert_allclose(np.log1p(x) / 2 + (x * r) ** 2 * numerator_w / denominator_w, value, rtol=value_error)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 5e-6), (torch.float64, 2e-10)])
@pytest.mark.parametrize("theta", [1.0, -0.25])
def test_exact_value_and_gradient_equal_those_of_mpmath(dtype: torch.dtype, rtol: float, theta: float) -> None:
    log_alpha = torch.linspace(-40, 40, 641, dtype=dtype)
    posterior = at_log_alpha(log_alpha, theta)
    inverse_alpha = theta**2 * np.exp(-posterior[1].double().numpy())
    value, slope = (np.array(part, dtype=float) for part in zip(*map(exact, inverse_alpha), strict=True))
    expected = value, slope * inverse_alpha / theta, -slope * inverse_alpha / 2
    for result, numbers in zip((kl_exact(*posterior), *gradients(kl_exact, *posterior)), expected, strict=True):
        np.testing.assert_allclose(result.double().numpy(), numbers, rtol=rtol)


@pytest.mark.parametrize("theta", [1.0, -2.5, 1e-3])
def test_exact_gradient_is_that_of_the_dawson_function(theta: float) -> None:
    posterior = at_log_alpha(grid(-14, 30), theta)
    root = torch.sqrt(0.5 * torch.exp(2 * posterior[0].abs().log() - posterior[1]))
    dawson = torch.from_numpy(scipy.special.dawsn(root.numpy()))
    grad_theta, grad_log_sigma2 = gradients(kl_exact, *posterior)
    torch.testing.assert_close(grad_log_sigma2, -root * dawson, rtol=1e-8, atol=0)
    torch.testing.assert_close(grad_theta, 2 * root * dawson / theta, rtol=1e-8, atol=0)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize(("form", "k1"), [(kl_approximate, kl._K1), (kl_ard, 0.0)], ids=["approximate", "ard"])
def test_fast_evaluation_equals_the_plain_reference(form: KL, k1: float, dtype: torch.dtype, rtol: float) -> None:
    """For log α from −64 to 80, 1/α from e^64 to e^−80, and means of both signs and several sizes."""
    log_alpha, thetas = torch.linspace(-64, 80, 577, dtype=dtype), torch.tensor([1.0, -1.0, 0.03, -25.0], dtype=dtype)
    theta, log_sigma2 = torch.broadcast_tensors(thetas[:, None], (log_alpha + 2 * thetas.abs().log()[:, None]).clamp(-80, 80))
    fast = form(theta, log_sigma2), *gradients(form, theta, log_sigma2)
    plain = kl._reference(theta.double(), log_sigma2.double(), k1)
    # From log α = 69 on the approximate KL, which is below 1e-30 there, lacks a term that is below 1e-45.
    torch.testing.assert_close(tuple(x.double() for x in fast), plain, rtol=rtol, atol=1e-45)


@every_form
@pytest.mark.parametrize("theta", [1.0, -0.03])
def test_gradients_equal_numerical_differentiation(form: KL, theta: float) -> None:
    posterior = at_log_alpha(grid(-12, 12), theta)

    def derivative(index: int, step: float) -> Tensor:
        """Central differences at three steps, Richardson-extrapolated to an error of order step⁶."""

        def central(h: float) -> Tensor:
            moved = [[x + (sign * h if i == index else 0) for i, x in enumerate(posterior)] for sign in (1, -1)]
            return (form(*moved[0]) - form(*moved[1])) / (2 * h)

        coarse, middle, fine = (central(step / 2**k) for k in range(3))
        return (16 * (4 * fine - middle) / 3 - (4 * middle - coarse) / 3) / 15

    for index, step in ((0, 0.04 * abs(theta)), (1, 0.08)):
        torch.testing.assert_close(gradients(form, *posterior)[index], derivative(index, step), rtol=1e-6, atol=0)


def test_approximate_gradient_is_that_of_the_published_formula() -> None:
    log_alpha = grid(-20, 20).requires_grad_()
    formula = 0.63576 * torch.sigmoid(-1.87320 - 1.48695 * log_alpha) + 0.5 * torch.log1p(torch.exp(-log_alpha))
    (slope,) = torch.autograd.grad(formula.sum(), log_alpha)
    torch.testing.assert_close(gradients(kl_approximate, *at_log_alpha(log_alpha.detach()))[1], slope, rtol=1e-9, atol=0)


@every_form
@pytest.mark.parametrize("scale", [1e-6, 0.3, 1e5])
def test_scaling_the_weight_changes_nothing(form: KL, scale: float) -> None:
    theta, log_sigma2 = at_log_alpha(grid(-12, 12), 0.7)
    scaled = scale * theta, log_sigma2 + 2 * math.log(scale)
    torch.testing.assert_close(form(*scaled), form(theta, log_sigma2), rtol=1e-12, atol=0)
    before, after = gradients(form, theta, log_sigma2), gradients(form, *scaled)
    torch.testing.assert_close((after[0] * scale, after[1]), before, rtol=1e-12, atol=0)


@every_form
def test_even_in_theta(form: KL) -> None:
    theta, log_sigma2 = torch.randn(1000), 4 * torch.randn(1000)
    assert torch.equal(form(theta, log_sigma2), form(-theta, log_sigma2))


@every_form
def test_falls_strictly_with_alpha_to_zero(form: KL) -> None:
    values = form(*at_log_alpha(grid(-40, 60)))
    assert (values.diff() < 0).all()
    assert 0 < values[-1] < 1e-25


def test_small_alpha_limit() -> None:
    log_alpha = grid(-60, -30)
    limit = 0.5 * -log_alpha + 0.5 * (np.euler_gamma + math.log(2))
    torch.testing.assert_close(kl_exact(*at_log_alpha(log_alpha)), limit, rtol=1e-10, atol=0)


def test_approximation_is_within_its_stated_error() -> None:
    posterior = at_log_alpha(grid(-60, 60, 4001))
    assert (kl_approximate(*posterior) - kl_exact(*posterior)).abs().max() < 0.0095


def test_ard_is_the_kl_to_the_best_normal_prior() -> None:
    theta, log_sigma2 = at_log_alpha(grid(-8, 8, 33), 0.4)
    q, best = Normal(theta, torch.exp(0.5 * log_sigma2)), torch.sqrt(theta**2 + log_sigma2.exp())
    torch.testing.assert_close(kl_ard(theta, log_sigma2), kl_divergence(q, Normal(0.0, best)), rtol=1e-9, atol=0)
    for factor in (0.9, 1.1):
        assert (kl_divergence(q, Normal(0.0, factor * best)) > kl_ard(theta, log_sigma2)).all()


@pytest.mark.parametrize(("first", "second"), [(-6.0, 0.0), (-1.0, 1.0), (0.0, 4.0), (-3.0, 8.0)])
def test_differences_equal_monte_carlo(first: float, second: float) -> None:
    q = MultiplicativeNormal(*at_log_alpha(torch.tensor([first, second], dtype=torch.float64), 0.5))
    draws = q.sample((200_000,))
    log_ratios = q.log_prob(draws) - LogUniform().log_prob(draws)
    difference = log_ratios.mean(0)[0] - log_ratios.mean(0)[1]
    standard_error = (log_ratios.var(0).sum() / len(draws)).sqrt()
    exact = kl_exact(q.theta, q.log_sigma2)
    assert (exact[0] - exact[1] - difference).abs() < 4.5 * standard_error


@every_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_at_every_extreme(form: KL, dtype: torch.dtype) -> None:
    magnitudes = [0.0, 1e-45, 1e-40, 1e-38, 1e-20, 1.0, 1e20, 1e38] + ([5e-324, 1e-300] if dtype == torch.float64 else [])
    thetas = torch.tensor(magnitudes + [-m for m in magnitudes], dtype=dtype)
    log_sigmas = torch.tensor([-60.0, -30.0, -10.0, 0.0, 10.0, 60.0], dtype=dtype)
    theta, log_sigma2 = torch.broadcast_tensors(thetas[:, None], log_sigmas)
    for result in (form(theta, log_sigma2), *gradients(form, theta, log_sigma2)):
        assert result.isfinite().all()
    at_zero = form(torch.zeros_like(log_sigmas), log_sigmas), *gradients(form, torch.zeros_like(log_sigmas), log_sigmas)
    assert all((result.abs() < 1e-40).all() for result in at_zero)


@every_form
def test_layout_of_the_tensors_does_not_matter(form: KL) -> None:
    theta, log_sigma2 = torch.randn(6, 8), 3 * torch.randn(6, 8)
    expected = form(theta, log_sigma2), *gradients(form, theta, log_sigma2)
    transposed = theta.T.contiguous().T, log_sigma2.T.contiguous().T
    strided = theta.repeat_interleave(2, 1)[:, ::2], log_sigma2.repeat_interleave(2, 1)[:, ::2]
    for layout in (transposed, strided):
        assert not layout[0].is_contiguous()
        assert all(map(torch.equal, (form(*layout), *gradients(form, *layout)), expected))


@every_form
def test_a_tensor_larger_than_a_chunk_equals_its_slices(form: KL) -> None:
    size = 2 * parts._CHUNK + 7
    posterior = torch.randn(size), 3 * torch.randn(size)
    whole = form(*posterior), *gradients(form, *posterior)
    for part in (slice(0, 99), slice(parts._CHUNK - 50, parts._CHUNK + 50), slice(size - 99, size)):
        theta, log_sigma2 = (x[part] for x in posterior)
        alone = form(theta, log_sigma2), *gradients(form, theta, log_sigma2)
        torch.testing.assert_close(tuple(x[part] for x in whole), alone, rtol=1e-6, atol=1e-12)


@every_form
@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (), (1,)])
def test_empty_and_scalar_tensors(form: KL, shape: tuple[int, ...]) -> None:
    posterior = torch.ones(shape), torch.zeros(shape)
    for result in (form(*posterior), *gradients(form, *posterior)):
        assert result.shape == shape
        assert result.isfinite().all()


@every_form
def test_a_second_derivative_is_refused(form: KL) -> None:
    theta = torch.tensor([0.5, 1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(form(theta, torch.zeros(2)).sum(), theta, create_graph=True)
    value = form(theta, torch.zeros(2)).sum()
    first, second = (torch.autograd.grad(value, theta, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_first_call_in_inference_mode_leaves_gradients_possible() -> None:
    """In a thread of its own, whose buffers are new."""

    def run() -> Tensor:
        theta, log_sigma2 = torch.ones(5, requires_grad=True), torch.zeros(5)
        with torch.inference_mode():
            kl_approximate(theta, log_sigma2)
        kl_approximate(theta, log_sigma2).sum().backward()
        assert theta.grad is not None
        return theta.grad

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run).result().isfinite().all()
