"""Bilinear layers: units of both inputs, and outputs, go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_vd import compact, load_pruned, save_pruned
from pyro_vd.compaction import ShrinkPlan, apply_plan, shrink_plan


class Pair(nn.Module):
    """A bilinear layer between linear ones; its inputs have 6 and 7 units, and it makes 8."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(5, 7)
        self.pair, self.out = nn.Bilinear(6, 7, 8, bias=bias), nn.Linear(8, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.out(self.pair(self.first(x).relu(), self.second(y).relu()).tanh())


def inputs(*shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(*shape, 4).double(), torch.randn(*shape, 5).double()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(3,), (2, 6)])
def test_units_of_both_inputs_and_outputs_go(bias: bool, shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Pair(bias).double().eval()
    with torch.no_grad():
        net.first.weight[1] = net.second.weight[2] = 0
        net.first.bias[1], net.second.bias[2] = -1, 0  # always 0 after the activation
        net.first.weight[2], net.first.bias[2] = 0, 1  # always 1, which is no constant in a product
        net.pair.weight[:, 3] = net.pair.weight[:, :, 4] = 0  # nobody reads them
        net.pair.weight[5] = 0  # constant
        net.pair.weight[6, [0, 2, 4, 5]] = 0  # constant, too: what is left of it multiplies units that are 0 or gone
        net.out.weight[:, 7] = 0  # nobody reads it
    plan = shrink_plan(net, inputs(*shape))
    small: Any = compact(net, inputs(*shape))
    assert small.pair.weight.shape == (5, 4, 5)
    assert (small.pair.in1_features, small.pair.in2_features, small.pair.out_features) == (4, 5, 5)
    assert (small.first.out_features, small.second.out_features, small.out.in_features) == (4, 5, 5)
    for batch in (inputs(*shape), inputs(1, *shape[1:]), inputs(9, *shape[1:])):
        torch.testing.assert_close(small(*batch), net(*batch), rtol=1e-10, atol=1e-10)
    saved = ShrinkPlan.from_json(json.loads(json.dumps(plan.to_json())))
    for other in (apply_plan(net, saved), compact(small, inputs(*shape))):
        assert {k: t.tolist() for k, t in other.state_dict().items()} == {k: t.tolist() for k, t in small.state_dict().items()}
    save_pruned(small, tmp_path / "net", layout="sparse")
    batch = inputs(*shape)
    assert torch.equal(load_pruned(tmp_path / "net", Pair(bias).double())(*batch), small(*batch))


def test_a_product_of_units_with_themselves() -> None:
    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.pair = nn.Linear(4, 6), nn.Bilinear(6, 6, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            return self.pair(h, h)

    torch.manual_seed(0)
    net = Square().double().eval()
    with torch.no_grad():
        net.pair.weight[:, 1] = net.pair.weight[:, :, 1] = net.pair.weight[:, 2] = 0
    x = torch.randn(5, 4).double()
    small: Any = compact(net, x)
    assert small.first.out_features == 5
    torch.testing.assert_close(small(x), net(x), rtol=1e-10, atol=1e-10)
