"""Which units go, as a value apart from the network: made once, saved, applied to networks and to the state of an optimizer."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from compaction_support import prune_at_random
from support import refuses
from test_compaction_graph import Residual
from torch import Tensor, nn

from pyro_vd import compact
from pyro_vd.compaction import ShrinkPlan, apply_plan, planning, shrink_plan, shrink_tensor
from pyro_vd.compaction.plan import InputSelection
from pyro_vd.compaction.tensor_plan import TensorPlan
from pyro_vd.networks.ready import mlp


def test_the_worked_example_of_the_passes() -> None:
    result = doctest.testmod(planning)
    assert result.attempted > 5
    assert result.failed == 0


def example_of(seed: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(seed)
    if seed % 2:
        net: nn.Module = Residual(lambda x: torch.flatten(x, 1))
        prune_at_random(net, density=0.5)
        return net.eval(), torch.randn(2, 3, 10, 10)
    net = mlp((20, 15, 12, 4))
    prune_at_random(net)
    return net.eval(), torch.randn(2, 20)


@pytest.mark.parametrize("seed", range(6))
def test_a_saved_plan_makes_the_compact_network(seed: int) -> None:
    net, x = example_of(seed)
    before = copy.deepcopy(net.state_dict())
    plan = shrink_plan(net, x)
    saved = ShrinkPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert saved == plan
    wanted, found = compact(net, x), apply_plan(net, saved)
    assert repr(found) == repr(wanted)
    assert all(torch.equal(tensor, wanted.state_dict()[name]) for name, tensor in found.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items()), "the network is as it was"
    torch.testing.assert_close(found(x), net(x))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_suffices_for_any_tensor_of_a_parameters_shape(seed: int) -> None:
    net, x = example_of(seed)
    plan = shrink_plan(net, x)
    small = apply_plan(net, dataclasses.replace(plan, inputs=None))
    for name, parameter in net.named_parameters():
        marks = torch.arange(parameter.numel()).reshape(parameter.shape)
        selected = marks
        for dim, indices in plan.kept(name).items():
            selected = selected.index_select(dim, indices)
        assert torch.equal(shrink_tensor(marks, plan, name), selected)
        assert selected.shape == small.get_parameter(name).shape


def test_training_goes_on_with_the_moments_of_an_optimizer_made_smaller() -> None:
    """Units that are silent have no gradients, so that the smaller network learns as the whole one would have."""
    torch.manual_seed(0)
    net: Any = mlp((6, 8, 7, 3)).double()
    with torch.no_grad():
        for layer, after, silent in ((net[1], net[3], [0, 5]), (net[3], net[5], [2, 3, 6])):
            layer.weight[silent] = after.weight[:, silent] = 0
            layer.bias[silent] = -1  # the activation is 0, and its slope
    x, y = torch.randn(40, 6).double(), torch.arange(40) % 3

    def train(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(module(x), y).backward()
            optimizer.step()

    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    train(net, optimizer)
    plan = shrink_plan(net)
    small = apply_plan(net, plan).train()
    smaller = torch.optim.Adam(small.parameters(), lr=0.01)
    for (name, whole), made in zip(net.named_parameters(), small.parameters(), strict=True):
        state = optimizer.state[whole]
        moments = {key: shrink_tensor(state[key], plan, name) for key in ("exp_avg", "exp_avg_sq")}
        assert {tensor.shape for tensor in moments.values()} == {made.shape}
        smaller.state[made] = {"step": state["step"].clone(), **moments}
    assert sum(parameter.numel() for parameter in small.parameters()) < sum(p.numel() for p in net.parameters())
    train(net, optimizer)
    train(small, smaller)
    for (name, whole), made in zip(net.named_parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(made.detach(), shrink_tensor(whole.detach(), plan, name))


class Sum(nn.Module):
    """A padded convolution needs the constant unit 1 of ``stem`` before the sum, and ``last`` reads the sum alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.padded = nn.Conv1d(2, 3, 1), nn.Conv1d(3, 4, 3, padding=1)
        self.branch, self.last = nn.Conv1d(4, 3, 1), nn.Conv1d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.stem.weight[1] = self.branch.weight[1] = 0

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return self.last(h + self.branch(self.padded(h).relu()))


def test_a_unit_that_stays_for_others_is_set_to_zero_where_it_is_folded() -> None:
    torch.manual_seed(0)
    net = Sum()
    plan = shrink_plan(net, torch.randn(1, 2, 5))
    constant = (net.stem.bias + net.branch.bias)[1].double()
    weight, bias = plan.tensor("last.weight"), plan.tensor("last.bias")
    assert weight == TensorPlan("last.weight", (2, 3, 1), (None, None, None), ((), (1,), ()))
    assert bias is not None
    assert bias.is_new
    torch.testing.assert_close(torch.tensor(bias.added), net.last.weight[:, 1, 0] * constant.float(), check_dtype=False)
    assert plan.kept("last.weight") == plan.kept("stem.weight") == {}


def test_messages_are_part_of_the_plan() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.Softmax(-1), nn.Linear(5, 2))
    assert shrink_plan(net).messages == ()
    with torch.no_grad():
        net[0].weight[1] = 0
        wanted = ("1 units that could be removed stay because of these operations: softmax (1)",)
        assert shrink_plan(net).messages == wanted
        net[2].weight.zero_()
    assert shrink_plan(nn.Sequential(net[0], nn.ReLU(), net[2])).messages == (
        "no input reaches the output: the network is a constant predictor, as too much was pruned",
    )


def test_a_plan_for_another_network_is_refused() -> None:
    net = mlp((6, 5, 3))
    with torch.no_grad():
        net[1].weight[2] = 0
    plan = shrink_plan(net)
    with refuses("1.weight", (4, 6), (5, 6)):
        apply_plan(mlp((6, 4, 3)), plan)
    with refuses("1.weight"):
        apply_plan(nn.Sequential(nn.Linear(6, 3)), plan)
    with refuses("1.weight", (6, 5), (5, 6)):
        shrink_tensor(torch.zeros(6, 5), plan, "1.weight")
    other = torch.rand(2)
    same = shrink_tensor(other, plan, "elsewhere")
    assert torch.equal(same, other)
    assert same is not other
    with refuses("net", "net", "str"):
        shrink_plan("net")  # type: ignore[arg-type]


def test_a_broken_description_is_refused() -> None:
    net = mlp((6, 5, 3))
    with torch.no_grad():
        net[1].weight[2] = 0
        net[1].weight[:, 4] = 0
    tree = shrink_plan(net).to_json()
    assert tree["inputs"]["kept"] == [0, 1, 2, 3, 5]
    for path, value in {
        ("tensors", 0, "kept", 0): [0, 5],
        ("tensors", 0, "kept", 1): [],
        ("tensors", 0, "zeroed"): [],
        ("tensors", 0, "shape"): [5],
        ("tensors", 0, "added"): [1.0],
        ("inputs", "kept"): [3, 2],
        ("inputs", "features"): "six",
        ("tensors",): None,
    }.items():
        broken: Any = copy.deepcopy(tree)
        *parents, last = path
        part = broken
        for key in parents:
            part = part[key]
        part[last] = value
        with refuses():
            ShrinkPlan.from_json(broken)
    with refuses("kept", (3,), "from 0 to less than 3"):
        InputSelection(3, -1, False, (3,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        ShrinkPlan.from_json(tree).inputs = None  # type: ignore[misc]
