"""Shuffled units: the same function with the least numbers of units, which all choices of numbers are tried to find."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_vd import compact
from pyro_vd.compaction import ShrinkPlan, apply_plan, shrink_plan


def shuffled(h: Tensor) -> Tensor:
    """The halves of the units, one from each in turn, as ShuffleNet has it."""
    return h.view(h.shape[0], 2, h.shape[1] // 2).transpose(1, 2).contiguous().view(h.shape[0], -1)


class Shuffles(nn.Module):
    """Blocks that read the second half of the units and put what they make of it beside the first half, and shuffle both."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, width), nn.Linear(3, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.last = nn.Linear(2 * width, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = shuffled(torch.cat([self.first(x), self.second(x)], 1))
        for block in self.blocks:
            passed, read = h.chunk(2, 1)
            h = shuffled(torch.cat([passed, block(read).tanh()], 1))
        return self.last(h)

    @property
    def sizes(self) -> list[int]:
        """How many units each layer makes but the last."""
        return [layer.out_features for layer in (self.first, self.second, *self.blocks)]  # type: ignore[union-attr]


def readers(sizes: tuple[int, ...]) -> dict[tuple[int, int], int] | None:
    """The block that reads each unit, (layer, index), where layers make so many units; None if they cannot."""

    def made(layer: int) -> Tensor:
        return torch.tensor([[100 * layer + index for index in range(sizes[layer])]])

    found: dict[tuple[int, int], int] = {}
    h = torch.cat([made(0), made(1)], 1)
    for block in range(len(sizes) - 1):
        if h.shape[1] % 2:
            return None
        passed, read = shuffled(h).chunk(2, 1)
        if block == len(sizes) - 2:
            passed, read = h[:, :0], h
        found.update(((unit // 100, unit % 100), block) for unit in read[0].tolist())
        h = torch.cat([passed, made(block + 2)], 1) if block < len(sizes) - 2 else h
    return found


def pruned(width: int, blocks: int, seed: int, share: float) -> tuple[Shuffles, set[tuple[int, int]]]:
    """A network in which a share of the units is 0, and the units that are needed: those that are not."""
    torch.manual_seed(seed)
    net = Shuffles(width, blocks).double()
    silent = torch.rand(blocks + 2, width) < share
    silent[:, int(torch.randint(width, ()))] = False
    with torch.no_grad():
        for layer, rows in zip((net.first, net.second, *net.blocks), silent, strict=True):
            layer.weight[rows] = layer.bias[rows] = 0  # type: ignore[index, operator]
    return net, {(layer, index) for layer in range(blocks + 2) for index in range(width) if not silent[layer, index]}


def least(width: int, blocks: int, needed: set[tuple[int, int]]) -> int:
    """The least number of units with which each block has a place for every unit that it reads; all numbers are tried."""
    whole = readers((width,) * (blocks + 2))
    assert whole is not None
    wanted = Counter((layer, whole[layer, index]) for layer, index in needed)
    found = []
    for sizes in product(range(1, width + 1), repeat=blocks + 2):
        reads = readers(sizes)
        if reads is not None and Counter((layer, block) for (layer, _), block in reads.items()) >= wanted:
            found.append(sum(sizes))
    return min(found)


@pytest.mark.parametrize(("width", "blocks"), [(4, 1), (8, 1), (4, 2), (6, 2), (4, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_no_numbers_of_units_are_less(width: int, blocks: int, seed: int) -> None:
    net, needed = pruned(width, blocks, seed, 0.5)
    x = torch.randn(4, 3).double()
    small: Any = compact(net, x)
    torch.testing.assert_close(small(x), net(x))
    assert sum(small.sizes) == least(width, blocks, needed)
    again = compact(small, x).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in small.state_dict().items())


def test_units_that_all_take_one_way_need_as_many_that_take_the_other() -> None:
    """The block reads the second half of each layer; where only these units are needed, as many others must pass it."""
    net, x = Shuffles(8, 1).double(), torch.randn(4, 3).double()
    with torch.no_grad():
        for layer in (net.first, net.second):
            layer.weight[:4] = layer.bias[:4] = 0
    small: Any = compact(net, x)
    torch.testing.assert_close(small(x), net(x))
    assert small.sizes == [8, 8, 8]


def test_a_plan_with_another_order_is_saved_and_applied() -> None:
    for seed in range(20):
        net, _ = pruned(8, 2, seed, 0.5)
        x = torch.randn(4, 3).double()
        plan = shrink_plan(net, x)
        if any(list(kept) != sorted(kept) for found in plan.tensors for kept in found.kept if kept is not None):
            break
    else:
        raise AssertionError("no plan has another order")
    saved = ShrinkPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert saved == plan
    torch.testing.assert_close(apply_plan(net, saved)(x), net(x))
