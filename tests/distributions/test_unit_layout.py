"""A factor per unit on the entries of a weight does what the same factors on the inputs of the layer do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyro_vd.distributions.unit_layout import UnitLayout

LAYERS: dict[str, tuple[Callable[[], Any], UnitLayout, Callable[[Tensor], Tensor]]] = {
    "linear": (lambda: nn.Linear(6, 4), UnitLayout(6), lambda z: z),
    "convolution": (lambda: nn.Conv1d(6, 4, 2), UnitLayout(6), lambda z: z[:, None]),
    "grouped": (lambda: nn.Conv1d(6, 4, 2, groups=2), UnitLayout(6, groups=2), lambda z: z[:, None]),
    "depthwise": (lambda: nn.Conv1d(6, 12, 2, groups=6), UnitLayout(6, groups=6), lambda z: z[:, None]),
    "transposed": (lambda: nn.ConvTranspose1d(6, 4, 2), UnitLayout(6, 0), lambda z: z[:, None]),
    "transposed, grouped": (lambda: nn.ConvTranspose1d(6, 4, 2, groups=2), UnitLayout(6, 0), lambda z: z[:, None]),
    "filters of two positions": (
        lambda: nn.Linear(6, 4),
        UnitLayout(6, of_input=torch.tensor([0, 0, 1, 1, 2, 2]), units=3),
        lambda z: z.repeat_interleave(2),
    ),
    "groups of three channels": (
        lambda: nn.Conv1d(6, 4, 2, groups=2),
        UnitLayout(6, groups=2, of_input=torch.tensor([1, 1, 1, 0, 0, 0]), units=2),
        lambda z: z[[1, 1, 1, 0, 0, 0], None],
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_factors_of_inputs_are_factors_of_their_entries(name: str) -> None:
    torch.manual_seed(0)
    make, layout, on_inputs = LAYERS[name]
    layer, z = make().double(), torch.rand(layout.count).double() + 0.5
    x = torch.randn(5, 6, 7).double() if layer.weight.ndim == 3 else torch.randn(5, 6).double()
    factors = layout.over_weight(z, layer.weight.shape)
    assert torch.broadcast_shapes(factors.shape, layer.weight.shape) == layer.weight.shape
    found = functional_call(layer, {"weight": layer.weight * factors}, x)
    torch.testing.assert_close(found, layer(x * on_inputs(z)))
    several = layout.over_weight(torch.stack([z, 2 * z]), layer.weight.shape)
    assert torch.equal(several, torch.stack([factors, 2 * factors]))


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_units_without_weights_are_those_whose_factors_do_not_matter(name: str) -> None:
    torch.manual_seed(0)
    make, layout, _ = LAYERS[name]
    weight = make().weight
    for unit in range(layout.count):
        others = torch.ones(layout.count).index_fill(0, torch.tensor([unit]), 0)
        mask = (weight * layout.over_weight(others, weight.shape)) != 0
        assert torch.equal(layout.has_weights(mask), others > 0)
        mask = mask.flatten().index_fill(0, (~mask).flatten().nonzero()[0], True).view_as(mask)
        assert layout.has_weights(mask).all()
    values = layout.over_weight(torch.arange(float(layout.count)), weight.shape) + torch.rand_like(weight)
    assert torch.equal(layout.least(values).floor(), torch.arange(float(layout.count)))
