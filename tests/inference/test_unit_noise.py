"""Layers with noise on their units have the moments of layers whose weights are drawn with that noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyro_vd._core.errors import UsedAgainError
from pyro_vd.distributions import GroupNormal, LogNormalUnits, UnitDropout, UnitPosterior
from pyro_vd.distributions.unit_draws import SharedUnits, UnitDraws
from pyro_vd.distributions.unit_layout import UnitLayout
from pyro_vd.inference.output_noise import OutputNoise
from pyro_vd.inference.unit_noise import UnitNoiseWeight
from pyro_vd.networks.inputs import call_arguments, tensors_in
from pyro_vd.testing.statistics import check_alike

DRAWS = 3000


def conv1d() -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    return Conv1D(3, 4)


LAYERS: dict[str, tuple[Any, UnitLayout, Any]] = {
    "linear": (lambda: nn.Linear(4, 3), UnitLayout(4), torch.randn(2, 3, 4)),
    "embedding": (lambda: nn.Embedding(6, 2), UnitLayout(6, 0), torch.tensor([[0, 3, 3], [3, 5, 3]])),
    "bag": (lambda: nn.EmbeddingBag(6, 2), UnitLayout(6, 0), torch.tensor([[0, 3, 3], [3, 5, 5]])),
    "bilinear": (lambda: nn.Bilinear(2, 3, 2), UnitLayout(2), (torch.randn(2, 3, 2), torch.randn(2, 3, 3))),
    "grouped": (lambda: nn.Conv1d(4, 4, 2, groups=2), UnitLayout(4, groups=2), torch.randn(2, 4, 3)),
    "transposed": (lambda: nn.ConvTranspose1d(4, 2, 2, groups=2), UnitLayout(4, 0), torch.randn(2, 4, 3)),
    "Conv1D": (conv1d, UnitLayout(4, 0), torch.randn(2, 3, 4)),
    "LSTM": (lambda: nn.LSTM(4, 2), UnitLayout(4), torch.randn(3, 2, 4)),
    "tied positions": (lambda: nn.Linear(4, 3), UnitLayout(4, 1, 1, torch.tensor([0, 0, 1, 1]), 2), torch.randn(2, 3, 4)),
}
NAMES = {"LSTM": "weight_ih_l0"}


def posteriors(theta: Tensor, layout: UnitLayout) -> list[UnitPosterior]:
    mu, log_sigma2, log_sigma2_of_v = torch.rand(layout.count) + 0.5, torch.rand(layout.count) - 2, torch.rand_like(theta) - 3
    return [
        GroupNormal(theta, mu, log_sigma2, log_sigma2_of_v, layout=layout),
        LogNormalUnits(theta, mu - 2, log_sigma2, layout=layout),
        UnitDropout(theta, 0.3, layout=layout),
    ]


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_noise_per_example_is_that_of_drawn_weights(name: str) -> None:
    torch.manual_seed(0)
    make, layout, x = LAYERS[name]
    layer, parameter = make(), NAMES.get(name, "weight")

    def output(weight: Tensor) -> Tensor:
        return next(tensors_in(functional_call(layer, {parameter: weight}, *call_arguments(x))))[0].flatten()

    for q in posteriors(layer.get_parameter(parameter), layout):
        local = torch.stack([output(UnitNoiseWeight(q, None, "example")) for _ in range(DRAWS)])
        check_alike(local, torch.stack([output(weight) for weight in q.rsample((DRAWS,))]))


@pytest.mark.parametrize("noise", ["position", "example"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_that_is_used_has_a_gradient(name: str, noise: OutputNoise) -> None:
    torch.manual_seed(0)
    make, layout, x = LAYERS[name]
    layer, parameter = make(), NAMES.get(name, "weight")
    theta = layer.get_parameter(parameter).detach().clone()
    values = [theta, torch.ones(layout.count), torch.zeros(layout.count) - 2, torch.zeros_like(theta) - 3]
    parameters = [value.requires_grad_() for value in values]
    weight = UnitNoiseWeight(GroupNormal(*parameters, layout=layout), None, noise)
    next(tensors_in(functional_call(layer, {parameter: weight}, *call_arguments(x)))).square().sum().backward()
    used = torch.zeros(layout.inputs, dtype=torch.bool)
    used[x.flatten() if not x[0].is_floating_point() else slice(None)] = True
    for z in parameters[1:3]:
        assert z.grad.isfinite().all()
        assert torch.equal(layout.over_inputs(z.grad) != 0, used)
    for v in (parameters[0], parameters[3]):
        assert v.grad.isfinite().all()
        assert v.grad.any()


@torch.no_grad()
def test_factors_are_drawn_per_example_or_per_token() -> None:
    q = GroupNormal(torch.ones(6, 1), torch.ones(6), torch.zeros(6), layout=UnitLayout(6, 0))
    ids = torch.tensor([[0, 3, 3], [3, 5, 3]])
    by_example = torch.nn.functional.embedding(ids, UnitNoiseWeight(q, None, "example"))[..., 0]
    assert by_example[0, 1] == by_example[0, 2] != by_example[1, 0] == by_example[1, 2]
    assert len(by_example.unique()) == 4
    by_token = torch.nn.functional.embedding(ids, UnitNoiseWeight(q, None, "position"))[..., 0]
    assert len(by_token.unique()) == 6


@torch.no_grad()
def test_shared_factors_are_those_of_the_example_also_where_rows_are_looked_up() -> None:
    q, of_rows = (
        GroupNormal(torch.ones(shape), torch.ones(6), torch.zeros(6), layout=UnitLayout(6, axis))
        for shape, axis in (((1, 6), 1), ((6, 1), 0))
    )
    draws = UnitDraws(q.units, "weight", set())
    q.shared, of_rows.shared = SharedUnits(True, lambda: None, draws), SharedUnits(False, lambda: None, draws)
    z = torch.nn.functional.linear(torch.eye(6).expand(2, 6, 6), UnitNoiseWeight(q))[..., 0]
    ids = torch.tensor([[0, 3, 3], [3, 5, 3]])
    assert torch.equal(torch.nn.functional.embedding(ids, UnitNoiseWeight(of_rows))[..., 0], z.gather(1, ids))
    with pytest.raises(UsedAgainError):
        q.rsample()
    assert torch.equal(q.rsample(), of_rows.rsample().T), "the next pass"
