"""Compaction where the same numbers are looked at in another shape."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compaction_support import check_compact
from torch import Tensor, nn

from pyro_vd import compact
from pyro_vd.compaction import unit_groups
from pyro_vd.networks.layers import widths
from pyro_vd.networks.modules import SelectInputs


def test_a_linear_layer_over_positions_leaves_filters_alone() -> None:
    net = nn.Sequential(nn.Conv1d(3, 8, 1), nn.Linear(8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        net[0].weight[1] = net[1].weight[:, 2] = net[1].weight[3] = 0
    assert widths(check_compact(net, 3, 8)) == (3, 8, 7, 3), "positions go, as units of the linear layer"


def test_a_convolution_without_a_batch_dimension_is_left_alone() -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.Conv1d(4, 5, 3, padding=1), nn.ReLU(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        net[0].weight[0] = net[1].weight[1] = net[1].weight[:, 2] = net[3].weight[:, 3] = 0
    x = torch.randn(4, 6).double()
    small = compact(net, x)
    assert widths(small) == widths(net)
    torch.testing.assert_close(small(x), net(x))


def test_inputs_of_a_network_that_flattens_by_itself() -> None:
    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(16, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x.view(x.size(0), -1)).relu())

    net = Images()
    with torch.no_grad():
        net.first.weight[:, 3:7] = 0
    small: Any = check_compact(net, 1, 4, 4)
    assert widths(small) == (12, 5, 3)
    assert [type(module) for module in small] == [nn.Flatten, SelectInputs, Images]
    x = torch.randn(2, 16).double()
    torch.testing.assert_close(compact(net)(x), net(x))


def test_a_selection_in_the_middle_is_left_alone() -> None:
    net = nn.Sequential(nn.Linear(4, 5), SelectInputs(5, 3), nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight[0] = net[0].weight[:, 3] = net[2].weight[:, 1] = 0
    small: Any = check_compact(net, 4)
    assert widths(small) == (3, 5, 2)
    assert [type(module) for module in small] == [SelectInputs, nn.Linear, SelectInputs, nn.Linear]
    with torch.no_grad():
        net[0].weight.fill_(1)
    assert [type(module) for module in check_compact(net, 4).children()] == [nn.Linear, SelectInputs, nn.Linear]


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.last = nn.Conv1d(3, 2, 1), nn.Linear(12, 8), nn.Linear(8, 3)
        with torch.no_grad():
            self.conv.weight[0] = 0
            self.last.weight[:, 5] = self.last.weight[:, :4] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(x).flatten(1) + self.fc(x.flatten(1)))


class Regrouped(Pair):
    """Takes two examples as one: only looks like flattening."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(x).reshape(x.reshape(-1, 12).size(0), -1))


def test_units_of_a_sum_go_with_the_block_of_a_filter() -> None:
    assert widths(check_compact(Pair(), 3, 4)) == (3, 1, 4, 3)


def test_what_only_looks_like_flattening() -> None:
    net = Regrouped().double()
    small = compact(net, torch.randn(2, 3, 2).double())
    x = torch.randn(6, 3, 2).double()
    torch.testing.assert_close(small(x), net(x))


class Converted(nn.Module):
    """A network whose forward pass is in float32, whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.float()).relu())


def test_a_network_that_cannot_run_in_float64_is_compared_in_its_own_precision() -> None:
    net = Converted().eval()
    with torch.no_grad():
        net.first.weight[:3] = net.first.bias[:3] = 0
    x = torch.randn(5, 4)
    small = compact(net, x)
    assert small.first.out_features == 3
    torch.testing.assert_close(small(x), net(x))


@pytest.mark.parametrize("form", [lambda x: x.numpy(), lambda x: x, lambda x: (x.numpy(),), lambda x: UserDict(x=x)])
def test_every_form_of_example_is_taken(form: Callable[[Tensor], Any]) -> None:
    net, x = Converted().eval(), torch.randn(5, 4)
    assert compact(net, form(x)).first.out_features == 6
    assert unit_groups(net, form(x)).groups.keys() >= {"first.weight", "last.weight"}


class OfOneVector(nn.Module):
    """A layer and a recurrent cell that take the mean over all examples, a tensor with one axis alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.cell, self.last = nn.Linear(4, 6), nn.RNNCell(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cell(self.first(x).mean(0))) + x[:, :1]


def test_layers_that_take_a_vector() -> None:
    torch.manual_seed(0)
    net, x = OfOneVector(), torch.randn(7, 4)
    with torch.no_grad():
        net.first.weight[2], net.first.bias[2] = 0, 0
        net.cell.weight_ih[:, 4] = 0
    small = compact(net, x)
    torch.testing.assert_close(small(x), net(x))
    assert small.first.out_features == 4
