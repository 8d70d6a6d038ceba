"""Layers with drawn outputs have the means, variances and covariances of layers with drawn weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyro_vd.inference.gaussian_weight import GaussianWeight
from pyro_vd.inference.output_noise import OutputNoise
from pyro_vd.networks.inputs import call_arguments, run, tensors_in
from pyro_vd.networks.layer_registry import kind_of

DRAWS = 3000


def conv1d() -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    return Conv1D(3, 4)


LINEAR: dict[str, tuple[Any, Any]] = {
    "embedding": (lambda: nn.Embedding(6, 2), torch.tensor([[0, 3, 3], [3, 5, 3]])),
    "bag of sums": (lambda: nn.EmbeddingBag(6, 2, mode="sum"), torch.tensor([[0, 3, 3], [3, 5, 5]])),
    "bag of means": (lambda: nn.EmbeddingBag(6, 2), (torch.tensor([0, 3, 3, 3, 5]), torch.tensor([0, 3]))),
    "bilinear": (lambda: nn.Bilinear(2, 3, 2), (torch.randn(2, 3, 2), torch.randn(2, 3, 3))),
    "depthwise convolution": (lambda: nn.Conv1d(2, 4, 2, groups=2), torch.randn(2, 2, 4)),
    "grouped transposed convolution": (lambda: nn.ConvTranspose1d(2, 4, 2, groups=2), torch.randn(2, 2, 3)),
    "Conv1D": (conv1d, torch.randn(2, 3, 4)),
}
ONE_WEIGHT_PER_BATCH = {"Conv1D"}


def drawn_outputs(layer: nn.Module, x: Any, variances: dict[str, Tensor], noise: OutputNoise) -> Tensor:
    """Draws of a layer's output, ``(draws, …)``."""
    args, kwargs = call_arguments(x)
    outputs = []
    for _ in range(DRAWS):
        weights = {name: GaussianWeight(getattr(layer, name), variance, noise) for name, variance in variances.items()}
        outputs.append(next(tensors_in(functional_call(layer, weights, args, kwargs))))
    return torch.stack(outputs)


@pytest.mark.parametrize("noise", ["position", "example"])
@pytest.mark.parametrize("name", LINEAR)
@torch.no_grad()
def test_moments_are_those_of_drawn_weights(name: str, noise: OutputNoise) -> None:
    torch.manual_seed(0)
    make, x = LINEAR[name]
    layer = make()
    variance = torch.rand_like(layer.weight) + 0.1
    found = drawn_outputs(layer, x, {"weight": variance}, noise)
    n, wanted = len(found[0]), run(layer, x)
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(
            lambda w: functional_call(layer, {"weight": w}, *call_arguments(x)), layer.weight
        )
    slopes = jacobian.reshape(wanted.numel(), -1)
    covariance = slopes @ (slopes * variance.flatten()).T
    variances, means = covariance.diagonal(), found.mean(0).flatten()
    assert ((means - wanted.flatten()).abs() <= 5 * (variances / DRAWS).sqrt()).all()
    if noise == "position":
        covariance = variances.diag()
    elif name not in ONE_WEIGHT_PER_BATCH:
        examples = torch.arange(n).repeat_interleave(wanted.numel() // n)
        covariance = covariance * (examples[:, None] == examples)
    errors = ((variances[:, None] * variances + covariance.square()) / DRAWS).sqrt()
    assert ((torch.cov(found.flatten(1).T) - covariance).abs() <= 6 * errors).all()


def cross(**options: Any) -> nn.Module:
    return nn.MultiheadAttention(4, 2, batch_first=True, **options)


Q, K = torch.randn(2, 3, 4), torch.randn(2, 2, 4)
ATTENTION: dict[str, tuple[nn.Module, Any]] = {
    "self": (cross(), (Q, Q, Q)),
    "sequence first": (nn.MultiheadAttention(4, 2), (Q, Q, Q)),
    "keys are values": (cross(bias=False), (Q, K, K)),
    "separate": (cross(kdim=4, vdim=3), (Q, K, K[..., :3])),
}


@pytest.mark.parametrize("name", ATTENTION)
@torch.no_grad()
def test_attention_with_one_noise_per_example_is_that_with_drawn_weights(name: str) -> None:
    """Means and covariances of the outputs of an example, at all its positions, from drawn outputs and from drawn weights."""
    torch.manual_seed(1)
    layer, x = ATTENTION[name]
    kind = kind_of(layer)
    assert kind is not None
    names = [*kind.weights(layer), "out_proj.weight"]
    variances = {each: torch.full_like(layer.get_parameter(each), 0.1) for each in names}
    outputs, drawn = [], []
    for _ in range(DRAWS):
        lazy = {each: GaussianWeight(layer.get_parameter(each), variance, "example") for each, variance in variances.items()}
        known = {each: weight.over(lambda t: t).draw() for each, weight in lazy.items()}
        outputs.append(functional_call(layer, lazy, x)[0])
        drawn.append(functional_call(layer, known, x)[0])
        assert all(weight.drawn_ is None for weight in lazy.values()), "a weight was drawn, not an output"
    (mean, cov, error), (wanted_mean, wanted_cov, wanted_error) = (
        moments(torch.stack(found).select(1 if layer.batch_first else 2, 0).flatten(1)) for found in (outputs, drawn)
    )
    spread = (cov.diagonal() + wanted_cov.diagonal()).div(DRAWS).sqrt()
    assert ((mean - wanted_mean).abs() <= 5 * spread).all()
    assert ((cov - wanted_cov).abs() <= 6 * (error.square() + wanted_error.square()).sqrt()).all()


def moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means, covariances, and the standard errors of the covariances, of draws in dimension 0."""
    away = x - x.mean(0)
    products = away[:, :, None] * away[:, None]
    return x.mean(0), products.mean(0), products.std(0) / len(x) ** 0.5


def test_noise_reaches_all_four_projections() -> None:
    torch.manual_seed(0)
    layer, x = cross(), torch.randn(3, 5, 4)
    weights = {name: layer.get_parameter(name) for name in ("in_proj_weight", "out_proj.weight")}
    variances = {name: torch.full_like(weight, 0.1).requires_grad_() for name, weight in weights.items()}
    lazy = {name: GaussianWeight(weight, variances[name]) for name, weight in weights.items()}
    functional_call(layer, lazy, (x, x, x))[0].square().sum().backward()
    for gradient in (*variances["in_proj_weight"].grad.chunk(3), variances["out_proj.weight"].grad):
        assert gradient.isfinite().all()
        assert (gradient != 0).all(1).any()
