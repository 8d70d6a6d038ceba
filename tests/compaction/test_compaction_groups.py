"""Convolutions with groups: as many inputs and outputs in every group as the fullest one needs, and whole groups removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd import compact, load_pruned, save_pruned
from pyro_vd.compaction import ShrinkPlan, apply_plan, shrink_plan, shrink_tensor, unit_groups


def check(net: nn.Module, x: Tensor) -> Any:
    """Compact a network twice; the function is the same, and nothing is left to do."""
    small = compact(net, x)
    torch.testing.assert_close(small(x), net(x))
    again = compact(small, x)
    assert repr(again) == repr(small)
    assert all(torch.equal(tensor, small.state_dict()[name]) for name, tensor in again.state_dict().items())
    return small


def network(groups: int, width: int, kind: type[nn.Module] = nn.Conv2d, made: int = 3) -> nn.Sequential:
    """A convolution with groups that read ``width`` units and make ``made`` each, between two others."""
    torch.manual_seed(0)
    middle = kind(groups * width, groups * made, 3, groups=groups)
    return nn.Sequential(nn.Conv2d(2, groups * width, 1), nn.ReLU(), middle, nn.Tanh(), nn.Conv2d(groups * made, 2, 1)).double()


def silence(net: nn.Sequential, inputs: list[int], outputs: list[int]) -> None:
    """Let inputs of the convolution with groups be 0, and nobody read these of its outputs."""
    with torch.no_grad():
        net[0].weight[inputs] = net[0].bias[inputs] = 0
        net[4].weight[:, outputs] = 0


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("seed", range(4))
def test_every_group_keeps_what_the_fullest_one_needs(kind: type[nn.Module], seed: int) -> None:
    net, draw = network(3, 4, kind, 5), torch.Generator().manual_seed(seed)
    inputs, outputs = torch.rand(3, 4, generator=draw) < 0.5, torch.rand(3, 5, generator=draw) < 0.6
    outputs[seed % 3] = True  # nobody reads this group
    silence(net, inputs.flatten().nonzero().flatten().tolist(), outputs.flatten().nonzero().flatten().tolist())
    read = ~outputs.all(1)
    middle = check(net, torch.randn(2, 2, 5, 5).double())[2]
    needed = [max(1, int((~part[read]).sum(1).max())) for part in (inputs, outputs)]
    assert middle.groups == int(read.sum())
    assert (middle.in_channels, middle.out_channels) == tuple(middle.groups * number for number in needed)


def test_depthwise_convolutions_with_several_outputs_per_input() -> None:
    net = network(4, 1, made=3)
    silence(net, [], [0, 1, 2, 4, 6, 8, 11])
    middle = check(net, torch.randn(2, 2, 5, 5).double())[2]
    assert (middle.groups, middle.in_channels, middle.out_channels) == (3, 3, 3 * 2)


def test_the_last_group_is_a_convolution_without_groups() -> None:
    net = network(2, 4)
    silence(net, [5, 6], [0, 1, 2, 4])
    middle = check(net, torch.randn(2, 2, 5, 5).double())[2]
    assert (middle.groups, middle.in_channels, middle.out_channels) == (1, 2, 2)


def test_constant_inputs_of_a_group_are_added_to_its_bias() -> None:
    net = network(2, 3)
    with torch.no_grad():
        net[0].weight[[0, 4, 5]] = 0  # constants other than 0: one in the first group, two in the second
    middle = check(net, torch.randn(2, 2, 5, 5).double())[2]
    assert (middle.groups, middle.in_channels) == (2, 2 * 2)


class Functional(nn.Module):
    """A module of its own that runs a convolution with groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 2, 1)
        self.kernel, self.number_of_groups = nn.Parameter(torch.randn(6, 2, 3, 3)), 3

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.conv2d(self.first(x), self.kernel, groups=self.number_of_groups))


def test_the_number_of_groups_of_a_module_of_the_users_own() -> None:
    torch.manual_seed(0)
    net = Functional().double()
    with torch.no_grad():
        net.last.weight[:, [0, 1, 3]] = net.first.weight[4] = net.first.bias[4] = 0
    small = check(net, torch.randn(2, 2, 4, 4).double())
    assert small.number_of_groups == 2
    assert small.kernel.shape == (4, 2, 3, 3)


class Whole(nn.Sequential):
    """A network of a class of its own, which files do not describe."""


def test_plans_and_files_of_convolutions_with_groups(tmp_path: Path) -> None:
    net, x = network(3, 4), torch.randn(2, 2, 5, 5).double()
    silence(net, [0, 5, 6, 9], [3, 4, 5, 0, 7])
    plan = shrink_plan(net, x)
    saved = ShrinkPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert saved == plan
    small = compact(net, x)
    assert small[2].weight.shape == (4, 3, 3, 3)
    made = apply_plan(net, saved)
    assert all(torch.equal(tensor, small.state_dict()[name]) for name, tensor in made.state_dict().items())
    weight = net[2].weight
    assert torch.equal(shrink_tensor(weight, plan, "2.weight"), small[2].weight)
    assert plan.kept("2.weight")[1].tolist() == [1, 2, 3, 8, 10, 11]
    save_pruned(small, tmp_path / "described")
    assert torch.equal(load_pruned(tmp_path / "described")(x), small(x))
    save_pruned(compact(Whole(*net), x), tmp_path / "given")
    assert torch.equal(load_pruned(tmp_path / "given", Whole(*net))(x), small(x))


def test_units_of_groups_have_scales_of_their_own_and_those_of_depthwise_convolutions_share() -> None:
    found = unit_groups(network(2, 3), torch.randn(2, 2, 5, 5).double())
    assert found.across["2.weight"].tolist() == found.groups["0.weight"][0].tolist()
    assert len({*found.groups["0.weight"][0].tolist(), *found.groups["2.weight"][0].tolist()}) == 12
    deep = unit_groups(network(4, 1, made=1), torch.randn(2, 2, 5, 5).double())
    assert deep.across["2.weight"].tolist() == deep.groups["0.weight"][0].tolist() == deep.groups["2.weight"][0].tolist()
