"""Local reparameterization draws what weight sampling would draw, from less noise, and touches nothing else."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
import torch.nn.functional as F
from pyro.nn import PyroModule, PyroSample
from support import refuses
from torch import Tensor, nn

from pyro_vd.distributions import MultiplicativeNormal
from pyro_vd.inference import LocalReparameterization
from pyro_vd.inference.gaussian_weight import GaussianWeight
from pyro_vd.inference.lazy_weight import draw_weight

Case = namedtuple("Case", ["f", "row", "shape", "outputs"])  # a linear map, a row of its input, its weight, its bias
CASES = {
    "linear": Case(F.linear, (5,), (3, 5), 3),
    "linear-of-sequences": Case(F.linear, (2, 5), (3, 5), 3),
    "linear-keywords": Case(lambda x, w, b: F.linear(bias=b, weight=w, input=x), (5,), (3, 5), 3),
    "conv1d": Case(partial(F.conv1d, stride=2, padding=1), (2, 6), (3, 2, 3), 3),
    "conv1d-same": Case(partial(F.conv1d, padding="same"), (2, 4), (3, 2, 3), 3),
    "conv2d": Case(partial(F.conv2d, groups=2, dilation=2), (2, 4, 5), (4, 1, 2, 2), 4),
    "conv2d-positional": Case(lambda x, w, b: F.conv2d(x, w, b, 2, 1), (2, 3, 4), (3, 2, 3, 3), 3),
    "conv3d": Case(partial(F.conv3d, padding=(1, 0, 0), stride=(1, 2, 1)), (1, 2, 3, 3), (2, 1, 2, 2, 2), 2),
    "conv_transpose1d": Case(partial(F.conv_transpose1d, stride=2, padding=1, output_padding=1), (2, 3), (2, 3, 3), 3),
    "conv_transpose2d": Case(partial(F.conv_transpose2d, groups=2, dilation=2), (2, 2, 3), (2, 2, 2, 2), 4),
    "conv_transpose2d-positional": Case(lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1), (1, 2, 2), (1, 2, 3, 3), 2),
    "conv_transpose3d": Case(partial(F.conv_transpose3d, stride=(1, 2, 1)), (1, 2, 2, 2), (1, 2, 1, 2, 2), 2),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
a_few_cases = pytest.mark.parametrize("case", [CASES[name] for name in ("linear", "conv2d", "conv_transpose1d")])


def posterior(*shape: int) -> MultiplicativeNormal:
    return MultiplicativeNormal(torch.randn(shape), torch.randn(shape) - 1)


def undrawn(q: MultiplicativeNormal) -> Tensor:
    with LocalReparameterization():
        weight: Tensor = pyro.sample("w", q.to_event(len(q.batch_shape)))
    return weight


def seeded(draw: Callable[[], Tensor]) -> Tensor:
    pyro.set_rng_seed(7)
    return draw()


def check_moments(draws: Tensor, case: Case, x: Tensor, q: MultiplicativeNormal, bias: Tensor, bias_variance: Tensor) -> None:
    """Compare with the exact mean and variance of a map linear in weight and bias, taken from its Jacobians."""
    jacobians = torch.func.jacrev(lambda w, b: case.f(x, w, b), (0, 1))(q.mean, bias)
    of_weight, of_bias = (jacobian.flatten(x.ndim).square() for jacobian in jacobians)
    variance, n = of_weight @ q.variance.flatten() + of_bias @ bias_variance, len(draws)
    assert ((draws.mean(0) - case.f(x, q.mean, bias)).abs() < 4.5 * (variance / n).sqrt()).all()
    assert ((draws.var(0) / variance - 1).abs() < 4.5 * (2 / (n - 1)) ** 0.5).all()


@every_case
def test_outputs_have_the_moments_of_weight_sampling(case: Case) -> None:
    x, q, n, none = torch.randn(1, *case.row), posterior(*case.shape), 2000, torch.zeros(case.outputs)
    rows, bias = x.expand(n, *case.row), torch.randn(case.outputs)
    check_moments(case.f(rows, undrawn(q), bias)[:, None], case, x, q, bias, none)
    check_moments(case.f(rows, undrawn(q), None)[:, None], case, x, q, none, none)
    check_moments(torch.stack([case.f(x, w, bias) for w in q.rsample((n,))]), case, x, q, bias, none)


@a_few_cases
def test_a_gaussian_bias_adds_its_variance(case: Case) -> None:
    x, q, q_bias = torch.randn(1, *case.row), posterior(*case.shape), posterior(case.outputs)
    draws = torch.stack([case.f(x, undrawn(q), undrawn(q_bias)) for _ in range(2000)])
    check_moments(draws, case, x, q, q_bias.mean, q_bias.variance)


@a_few_cases
def test_rows_of_a_batch_are_independent(case: Case) -> None:
    x, q, n = torch.randn(1, *case.row).expand(2, *case.row), posterior(*case.shape), 2000
    draws = torch.stack([case.f(x, undrawn(q), None) for _ in range(n)]).flatten(2)
    first, second = ((draws[:, i] - draws[:, i].mean(0)) / draws[:, i].std(0) for i in (0, 1))
    assert ((first * second).mean(0).abs() < 4.5 / n**0.5).all()
    with_one_weight = case.f(x, q.rsample(), None)
    assert torch.equal(with_one_weight[0], with_one_weight[1])


def test_gradients_agree_with_weight_sampling_and_vary_less() -> None:
    x, y = torch.randn(60, 4), torch.randint(3, (60,))
    parameters = torch.randn(3, 4, requires_grad=True), torch.full((3, 4), -1.0, requires_grad=True)

    def gradient(weight_of: Callable[[MultiplicativeNormal], Tensor]) -> Tensor:
        loss = F.cross_entropy(F.linear(x, weight_of(MultiplicativeNormal(*parameters))), y)
        return torch.stack(torch.autograd.grad(loss, parameters))

    local, sampled = (torch.stack([gradient(f) for _ in range(800)]) for f in (undrawn, MultiplicativeNormal.rsample))
    standard_error = ((local.var(0) + sampled.var(0)) / len(local)).sqrt()
    assert ((local.mean(0) - sampled.mean(0)).abs() < 4.5 * standard_error).all()
    assert (local.var(0) < sampled.var(0)).all()


@every_case
def test_zero_inputs_are_finite(case: Case) -> None:
    theta, log_sigma2 = torch.randn(case.shape, requires_grad=True), torch.zeros(case.shape, requires_grad=True)
    inputs = theta, log_sigma2, torch.zeros(2, *case.row, requires_grad=True), torch.randn(case.outputs, requires_grad=True)
    output = case.f(inputs[2], undrawn(MultiplicativeNormal(theta, log_sigma2)), inputs[3])
    assert all(tensor.isfinite().all() for tensor in (output, *torch.autograd.grad(output.sum(), inputs)))


@pytest.mark.parametrize("again", [lambda w: F.linear(torch.ones(2, 5), w), Tensor.sum, draw_weight, lambda w: w * 2])
def test_a_second_use_is_refused(again: Callable[[Tensor], Tensor]) -> None:
    weight = undrawn(posterior(3, 5))
    F.linear(torch.ones(2, 5), weight)
    with refuses("weight", (3, 5), "(3, 5)", "draw_weight"):
        again(weight)


OPERATIONS = {
    "transpose": lambda w: w.T @ torch.ones(3, 2),
    "matmul": lambda w: torch.matmul(w, torch.ones(5)),
    "sum, stack": lambda w: w.sum() + torch.stack([w, w]),
    "times": lambda w: 2 * w,
    "as an input": lambda w: F.linear(w, torch.ones(1, 5)),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_other_operations_draw_the_weight_once(operation: Callable[[Tensor], Tensor]) -> None:
    weight, x = undrawn(q := posterior(3, 5)), torch.randn(2, 5)
    result, drawn = operation(weight), draw_weight(weight)
    assert type(drawn) is type(result) is Tensor
    assert not torch.equal(drawn, q.mean)
    assert torch.equal(operation(drawn), result)
    assert torch.equal(operation(weight), result)
    assert torch.equal(F.linear(x, weight), F.linear(x, drawn))


def test_metadata_does_not_draw() -> None:
    q = posterior(3, 5)
    weight, before = undrawn(q), torch.get_rng_state()
    assert weight.shape == weight.size() == (3, 5)
    assert (weight.size(0), weight.dim(), weight.ndim, weight.numel(), len(weight)) == (3, 2, 2, 15, 3)
    assert (weight.dtype, weight.device, weight.layout) == (torch.float32, torch.device("cpu"), torch.strided)
    assert (weight.is_floating_point(), weight.requires_grad, weight.is_cuda) == (True, False, False)
    assert repr(weight) == "GaussianWeight(shape=(3, 5), drawn=False)"
    assert torch.equal(torch.get_rng_state(), before)
    assert undrawn(MultiplicativeNormal(q.mean.requires_grad_(), q.log_sigma2)).requires_grad


@every_case
def test_noise_is_drawn_for_the_output_alone(case: Case) -> None:
    x, q = torch.randn(7, *case.row), posterior(*case.shape)
    output = seeded(lambda: case.f(x, undrawn(q), None))
    after = torch.get_rng_state()
    seeded(lambda: torch.randn(output.shape))
    assert torch.equal(torch.get_rng_state(), after)


def test_nothing_global_is_patched() -> None:
    functions, x, w = dict(vars(F)), torch.randn(4, 5), torch.randn(3, 5)
    plain = F.linear(x, w)
    with LocalReparameterization(), ThreadPoolExecutor(1) as pool:
        assert vars(F) == functions
        assert isinstance(pyro.sample("w", posterior(3, 5)), GaussianWeight)
        assert torch.equal(pool.submit(F.linear, x, w).result(), plain)
        assert torch.equal(F.linear(x, w), plain)
        assert type(pyro.sample("z", dist.Normal(torch.zeros(3), 1.0))) is Tensor
        assert pyro.sample("observed", posterior(3, 5), obs=w) is w
    assert vars(F) == functions
    assert type(pyro.sample("w", posterior(3, 5))) is Tensor


def test_the_same_draw_through_trace_replay_and_pyro_sample() -> None:
    q, x = posterior(3, 5), torch.randn(4, 5)
    expected = seeded(lambda: F.linear(x, undrawn(q)))
    trace = poutine.trace(LocalReparameterization()(lambda: pyro.sample("w", q.to_event(2)))).get_trace()
    model = poutine.replay(lambda: F.linear(x, pyro.sample("w", dist.Normal(torch.zeros(3, 5), 1).to_event(2))), trace=trace)
    assert torch.equal(seeded(model), expected)
    layer = PyroModule[nn.Linear](5, 3, bias=False)
    layer.weight = PyroSample(q.to_event(2))
    assert torch.equal(seeded(lambda: LocalReparameterization()(layer)(x)), expected)


@a_few_cases
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("input_dtype", ["single", "half"])
def test_autocast_keeps_the_spread(case: Case, dtype: torch.dtype, input_dtype: str) -> None:
    n, x = 3000, 300 * torch.randn(1, *case.row).to(dtype if input_dtype == "half" else torch.float32)
    rows, q = x.expand(n, *case.row), MultiplicativeNormal(torch.zeros(case.shape), torch.full(case.shape, -18.0))
    full = case.f(rows.float(), undrawn(q), None).std(0)
    with torch.autocast("cpu", dtype=dtype):  # in half precision x² overflows and σ² underflows
        output = case.f(rows, undrawn(q), None)
    assert output.dtype == dtype
    assert ((output.float().std(0) / full - 1).abs() < 4.5 * (1 / (n - 1)) ** 0.5 + torch.finfo(dtype).eps).all()
