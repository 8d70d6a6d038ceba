"""Noise by example against drawn weights: means, variances, covariances between positions; and noise by position."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import ANYTHING, refused, refuses
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.distributions.priors import LogUniform, NormalJeffreys
from pyro_vd.guides import BernoulliDropout
from pyro_vd.inference import LocalReparameterization
from pyro_vd.inference.gaussian_weight import GaussianWeight

DRAWS = 2000
Map = Callable[..., Tensor]
MAPS: dict[str, tuple[Map, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "linear": (F.linear, (2, 5, 3), (2, 3), {}),
    "linear-two-positions": (F.linear, (2, 2, 2, 3), (2, 3), {}),
    "conv1d": (F.conv1d, (2, 2, 4), (2, 2, 2), {"stride": 1}),
    "conv2d": (F.conv2d, (2, 1, 4, 4), (2, 1, 2, 2), {"stride": 2, "padding": 1}),
    "conv3d": (F.conv3d, (2, 1, 2, 2, 3), (1, 1, 2, 2, 2), {"padding": (0, 0, 1)}),
    "grouped": (F.conv1d, (2, 4, 4), (4, 2, 2), {"groups": 2}),
    "transposed": (F.conv_transpose2d, (2, 2, 2, 2), (2, 1, 2, 2), {"stride": 1}),
    "transposed-1d": (F.conv_transpose1d, (2, 2, 3), (2, 2, 2), {"output_padding": 0}),
    "one-example": (F.conv1d, (2, 4), (2, 2, 2), {}),
}


def outputs(linear_map: Map, x: Tensor, weight: Callable[[], Tensor], options: dict[str, Any]) -> Tensor:
    """Draws ``(S, n, …)`` of the output, flattened an example."""
    drawn = torch.stack([linear_map(x, weight(), **options) for _ in range(DRAWS)])
    return drawn.reshape(DRAWS, len(x) if x.ndim > 2 else 1, -1)


def exact_covariance(linear_map: Map, x: Tensor, variance: Tensor, options: dict[str, Any]) -> Tensor:
    """Of each example's output under a drawn weight, ``(n, outputs, outputs)``: J diag(σ²) Jᵀ."""
    basis = torch.eye(variance.numel()).unflatten(1, variance.shape)
    jacobian = torch.stack([linear_map(x, each, **options) for each in basis], -1)
    jacobian = jacobian.reshape(len(x) if x.ndim > 2 else 1, -1, variance.numel())
    return jacobian @ variance.flatten().diag() @ jacobian.mT


@pytest.mark.parametrize("name", MAPS)
def test_an_examples_output_has_the_covariance_of_a_drawn_weight(name: str) -> None:
    linear_map, shape, weight_shape, options = MAPS[name]
    torch.manual_seed(0)
    x, mean, variance = torch.randn(shape), torch.randn(weight_shape), torch.rand(weight_shape)
    exact = exact_covariance(linear_map, x, variance, options)
    found = {
        kind: outputs(linear_map, x, lambda kind=kind: GaussianWeight(mean, variance, kind), options)
        for kind in ("position", "example")
    }
    of_mean = linear_map(x, mean, **options).reshape(exact.shape[:2])
    scale = exact.diagonal(dim1=1, dim2=2)
    for draws in found.values():
        assert ((draws.mean(0) - of_mean).abs() <= 5 * (scale / DRAWS).sqrt() + 1e-5).all()
        assert ((draws.var(0) - scale).abs() <= 5 * scale * math.sqrt(2 / DRAWS) + 1e-5).all()
    centred = found["example"] - of_mean
    covariance = torch.einsum("sni,snj->nij", centred, centred) / DRAWS
    bound = 5 * ((scale[:, :, None] * scale[:, None] + exact.square()) / DRAWS).sqrt()
    assert ((covariance - exact).abs() <= bound + 1e-5).all()
    if len(exact) > 1:
        between = torch.einsum("si,sj->ij", centred[:, 0], centred[:, 1]) / DRAWS
        assert (between.abs() <= 5 * (3 * scale[0, :, None] * scale[1] / DRAWS).sqrt()).all(), "examples are uncorrelated"
    by_position = found["position"] - of_mean
    apart = torch.einsum("sni,snj->nij", by_position, by_position) / DRAWS - scale.diag_embed()
    assert (apart.abs() <= 5 * (3 * scale[:, :, None] * scale[:, None] / DRAWS).sqrt() + 1e-5).all(), (
        "positions are independent"
    )


def test_pooled_tokens_have_the_noise_of_a_drawn_weight() -> None:
    torch.manual_seed(0)
    x, mean, variance = torch.randn(1, 50, 20) + 0.5, torch.randn(1, 20), torch.full((1, 20), 0.01)
    exact = (x.mean(1).square() @ variance.T).sqrt().item()
    stds = {
        kind: torch.stack([F.linear(x, GaussianWeight(mean, variance, kind)).mean() for _ in range(DRAWS)]).std().item()
        for kind in ("position", "example")
    }
    assert stds["example"] == pytest.approx(exact, rel=4.5 / math.sqrt(2 * DRAWS))
    assert stds["position"] < 0.5 * exact


@pytest.mark.parametrize(
    ("linear_map", "shape", "weight_shape"),
    [(F.linear, (4, 3), (2, 3)), (F.linear, (3,), (2, 3)), (F.conv1d, (4, 2, 3), (2, 2, 3))],
)
def test_a_layer_of_one_position_is_not_concerned(
    linear_map: Map, shape: tuple[int, ...], weight_shape: tuple[int, ...]
) -> None:
    x, mean, variance = torch.randn(shape), torch.randn(weight_shape), torch.rand(weight_shape)
    drawn = []
    for kind in ("position", "example"):
        torch.manual_seed(3)
        drawn.append(linear_map(x, GaussianWeight(mean, variance, kind)))
    assert torch.equal(*drawn)


def test_gradients_are_right_in_mean() -> None:
    """E Σ f² = Σ f(θ)² + Σₚ xₚ² σ², so its gradient by σ² is Σₚ xₚ²."""
    torch.manual_seed(0)
    x, mean = torch.randn(1, 6, 3), torch.zeros(2, 3)
    gradients = []
    for _ in range(DRAWS):
        variance = torch.full((2, 3), 0.5, requires_grad=True)
        F.linear(x, GaussianWeight(mean, variance, "example")).square().sum().backward()
        gradients.append(variance.grad)
    found = torch.stack(gradients)
    expected = x.square().sum((0, 1)).expand(2, 3)
    assert ((found.mean(0) - expected).abs() < 4.5 * found.std(0) / math.sqrt(DRAWS)).all()


def tokens() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))


@pytest.mark.parametrize("noise", ["position", "example"])
def test_units_are_dropped_for_all_positions_of_an_example(noise: Any) -> None:
    torch.manual_seed(0)
    model = BayesianNetwork(nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 6)))
    for name in ("0.weight", "1.weight"):
        model.initial_weights[name].copy_(torch.eye(6)[:, : model.initial_weights[name].shape[1]])
    for bias in (model.net[0].bias, model.net[1].bias):
        nn.init.zeros_(bias)
    guide, x = BernoulliDropout(model, 0.5), torch.ones(8, 7, 5)
    with torch.no_grad(), LocalReparameterization(noise=noise):
        dropped = model.output(guide(), x)[..., :5] == 0
    assert (dropped == dropped[:, :1]).all() == (noise == "example")
    assert 0.3 < dropped.double().mean() < 0.7
    assert not (dropped == dropped[:1]).all()


@pytest.mark.parametrize("kind", ["variational", "group"])
def test_a_pass_that_is_run_again_has_the_same_noise(kind: str) -> None:
    class Checkpointed(nn.Module):
        def __init__(self, again: bool) -> None:
            super().__init__()
            self.layers, self.again = tokens(), again

        def forward(self, x: Tensor) -> Tensor:
            y = checkpoint(self.layers, x, use_reentrant=False) if self.again else self.layers(x)
            return y.mean(1)

    x, y = torch.randn(9, 7, 5), torch.randint(4, (9,))
    gradients = []
    for again in (False, True):
        torch.manual_seed(1)
        prior = NormalJeffreys if kind == "group" else LogUniform
        model = BayesianNetwork(Checkpointed(again), prior=prior)
        guide = GroupVariationalDropout(model) if kind == "group" else VariationalDropout(model, -2.0)
        elbo = VariationalDropoutELBO(noise="example")
        torch.manual_seed(2)
        elbo.differentiable_loss(model, guide, x, y).backward()
        gradients.append([parameter.grad for parameter in guide.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_half_precision() -> None:
    model = BayesianNetwork(tokens())
    guide, x = VariationalDropout(model, -30.0), torch.randn(4, 7, 5)
    with torch.no_grad(), LocalReparameterization(noise="example"), torch.autocast("cpu", torch.bfloat16):
        output = model.output(guide(), x)
    assert output.dtype is torch.bfloat16
    assert output.isfinite().all()


def test_fit_takes_it_and_knows_a_checkpoint_by_it(tmp_path: Path) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = tokens()

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x).mean(1)

    torch.manual_seed(0)
    x, y = torch.randn(200, 7, 5), torch.randint(4, (200,))
    x += y[:, None, None]
    model = BayesianNetwork(Pooled())
    guide = VariationalDropout(model)
    options: dict[str, Any] = {"lr": 0.02, "kl_weight": 0.1, "progress": False, "checkpoint": tmp_path / "c.pt"}
    history = fit(guide, (x, y), (x, y), epochs=30, noise="example", **options).history
    assert history[-1].score is not None
    assert history[-1].score < 0.2
    with refuses(ANYTHING, ANYTHING, tmp_path / "c.pt", "noise"):
        fit(guide, (x, y), epochs=30, resume=True, **options)


def test_another_noise_is_refused(tmp_path: Path) -> None:
    model = BayesianNetwork(tokens())
    noise: Any = "row"
    for call in (
        lambda: LocalReparameterization(noise=noise),
        lambda: VariationalDropoutELBO(noise=noise),
        lambda: fit(VariationalDropout(model), (torch.rand(3, 5), torch.tensor([0, 1, 2])), epochs=1, noise=noise),
    ):
        with refuses("noise", "row", "'position'", "'example'"):
            call()
    refused("train", "digits", "--train.noise=row", "--out", tmp_path / "run", quoted=("train.noise", "row"))
