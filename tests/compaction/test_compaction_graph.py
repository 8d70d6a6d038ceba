"""Compaction of networks with branches: what goes together, what is left alone, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from compaction_support import Around, check_compact, prune_at_random
from torch import Tensor, nn

from pyro_vd import compact
from pyro_vd.networks.layers import widths


class Block(nn.Module):
    """A residual block, written as such blocks are."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.conv2, self.bn2 = nn.Conv2d(5, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return self.relu(out)


class Residual(nn.Module):
    def __init__(self, flatten: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.blocks = nn.Sequential(Block(6, 6), Block(6, 8), Block(8, 8))
        self.fc1, self.fc2 = nn.Linear(32, 7), nn.Linear(7, 4)
        self.flatten = flatten

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.stem(x)), kernel_size=2)
        x = F.adaptive_avg_pool2d(self.blocks(x), (2, 2))
        x = F.dropout(F.gelu(self.fc1(self.flatten(x))), training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


FLATTEN = [
    lambda x: torch.flatten(x, 1),
    lambda x: x.flatten(start_dim=1),
    lambda x: x.view(x.size(0), -1),
    lambda x: x.reshape((x.shape[0], -1)),
    lambda x: x.contiguous().view(x.size()[0], -1),
]


@pytest.mark.parametrize("seed", range(10))
def test_residual_networks(seed: int) -> None:
    torch.manual_seed(seed)
    net = Residual(FLATTEN[seed % 5])
    prune_at_random(net, density=0.5, units=0.3 if seed % 2 else 0.1)
    small: Any = check_compact(net, 3, 10, 10)
    assert sum(widths(small)) < sum(widths(net))
    small = getattr(small, "net", small)
    assert type(small) is Residual
    assert small.blocks[0].conv2.out_channels == small.stem.out_channels, "summands share their removal"


def test_summands_go_together() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.tanh(self.a(x)) + 2 * self.b(x))

    net = Sum()
    with torch.no_grad():
        net.a.weight[0] = 0  # constant in one summand only: stays
        net.a.weight[1] = net.b.weight[1] = 0  # constant in both: folded
        net.c.weight[:, 2] = 0  # read by nobody
    small: Any = check_compact(net, 4)
    assert widths(small) == (4, 3, 3, 3)
    assert torch.equal(small.a.weight, net.a.weight[[0, 3, 4]])
    assert torch.equal(small.b.bias, net.b.bias[[0, 3, 4]])


def test_a_summand_that_is_left_alone_holds_the_other() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            b = self.b(x)
            weights = b.softmax(1)
            return self.c(self.a(x) + b) + weights[:, :3]

    net = Held()
    with torch.no_grad():
        net.a.weight[1] = net.b.weight[1] = net.c.weight[:, 2] = 0
    assert widths(check_compact(net, 4)) == (4, 5, 5, 3)


def test_a_summand_that_nobody_reads_any_more() -> None:
    class Later(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x)
            return self.d(h + self.c(self.b(h).relu()))

    net = Later()
    with torch.no_grad():
        net.d.weight[:, 2] = 0  # after the sum nobody reads unit 2, and its part of the sum goes
        net.c.weight[2], net.c.weight[:, 1] = 1, 0
        net.c.weight[2, 1] = 7  # the only one that reads unit 1 of b
    small: Any = check_compact(net, 4)
    assert widths(small) == (4, 5, 5, 5, 3)
    assert not small.c.weight[2].any()
    assert small.c.bias[2] == 0


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


HELD: dict[str, Around] = {
    "softmax": Around(lambda net, h: h.softmax(-1)),
    "layer_norm": Around(lambda net, h: F.layer_norm(h, (8,))),
    "group_norm": Around(lambda net, h: F.group_norm(h, 2)),
    "view": Around(lambda net, h: h.view(-1, 8)),
    "reshape": Around(lambda net, h: h.reshape(h.size(0), 8)),
    "div": Around(lambda net, h: h / h.size(1)),
    "add": Around(lambda net, h: h + h.shape[1]),
    "mv (parts.part.parametrizations.weight.0)": Around(
        lambda net, h: net.parts["part"](h), part=nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))
    ),
    "dropout": Around(lambda net, h: F.dropout(h, 1e-12)),
    "amax": Around(lambda net, h: h.__itruediv__(h.abs().amax(1, keepdim=True))),
    "cumsum": Around(lambda net, h: h.cumsum(1)),
    "roll": Around(lambda net, h: h.roll(1, 1)),
}


@pytest.mark.parametrize("name", HELD)
def test_what_holds_all_that_it_reads_is_named(name: str, caplog: pytest.LogCaptureFixture) -> None:
    net = HELD[name]
    assert widths(check_compact(net, 6)) == widths(net)
    for record in caplog.records:
        assert record.getMessage().endswith(f": {name}")
    assert len(caplog.records) == 2, "compacted twice"


FOLLOWED: dict[str, tuple[Around, int]] = {
    "a slope per unit": (Around(lambda net, h: net.parts["part"](h), part=nn.PReLU(8)), 6),
    "a factor per unit": (Around(lambda net, h: net.parts["part"](h), part=Scale()), 6),
    "a parameter of a layer": (Around(lambda net, h: h + net.first.bias.abs()), 6),
    "both halves, one of them unread for unit 1": (Around(lambda net, h: torch.cat([h, h.relu()], 1), 16), 7),
    "the other way round": (Around(lambda net, h: h.flip(1)), 6),
    "in place, then read again": (Around(lambda net, h: (torch.relu_(h), h)[1]), 6),
    "with another dimension": (Around(lambda net, h: h[:, None].permute(1, 0, 2).squeeze(0)), 6),
    "what is read of all": (Around(lambda net, h: h[:, :5], 5), 3),
    "all but the first": (Around(lambda net, h: h[:, 1:], 7), 7),
    "half": (Around(lambda net, h: h[:, : h.shape[1] // 2], 4), 4),
    "moved by positions": (Around(lambda net, h: torch.stack([h, h], 1).mean(1)), 6),
    "the greater of two": (Around(lambda net, h: torch.max(h, -h)), 6),
    "a maximum over positions": (Around(lambda net, h: torch.stack([h, h], 2).amax(2)), 6),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_passes_units_on_one_by_one(name: str) -> None:
    net, left = FOLLOWED[name]
    assert widths(check_compact(net, 6)) == (6, left, 3)


class Dense(nn.Module):
    """Layer after layer on all that there is, as in a densenet."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(1, 4) for _ in range(layers))
        self.convolutions = nn.ModuleList(nn.Conv2d(4 + 4 * k, 4, 1) for k in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = torch.cat([x, norm(convolution(x))], 1)
        return x.mean((2, 3))


def test_what_holds_units_is_named_in_one_message(caplog: pytest.LogCaptureFixture) -> None:
    net = Dense(6)
    with torch.no_grad():
        for convolution in net.convolutions:
            convolution.weight[0] = 0  # type: ignore[index]
    compact(net, torch.randn(2, 4, 3, 3))
    (record,) = caplog.records
    assert record.getMessage().startswith("6 units")
    assert record.getMessage().endswith(": group_norm (norms.0, norms.1, norms.2 and 3 more)")


def test_nothing_is_folded_into_a_layer_that_is_used_twice() -> None:
    layer, tied = nn.Linear(6, 6), nn.Linear(6, 6)
    tied.weight = layer.weight
    with torch.no_grad():
        layer.weight[0] = layer.weight[:, 1] = 0
    for net in (nn.Sequential(layer, nn.ReLU(), layer), nn.Sequential(layer, nn.Tanh(), tied)):
        check_compact(net, 6)


def test_a_layer_used_twice_loses_units_that_no_use_needs() -> None:
    first, layer, last = nn.Linear(6, 5, bias=False), nn.Linear(5, 5, bias=False), nn.Linear(5, 3)
    with torch.no_grad():
        first.weight[1] = layer.weight[1] = 0
    assert widths(check_compact(nn.Sequential(first, layer, nn.Tanh(), layer, last), 6)) == (6, 4, 4, 3)


IN_PLACE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "read again": lambda net, h: F.relu(h, inplace=True) + h,
    "a view of it read again": lambda net, h: (h.flatten(1), F.relu(h, inplace=True))[0],
    "the same through dropout": lambda net, h: (F.dropout(h, training=False), F.relu(h, inplace=True))[0] * 2,
    "a sum in place": lambda net, h: (h.__iadd__(h.sigmoid()), h)[1],
}


@pytest.mark.parametrize("case", IN_PLACE)
def test_changes_in_place_are_seen(case: str) -> None:
    assert widths(check_compact(Around(IN_PLACE[case]), 6)) == (6, 6, 3)


def test_what_is_changed_in_place_is_not_taken_for_constant() -> None:
    net = Around(lambda net, h: (F.relu(h, inplace=True), net.parts["part"](h))[1], part=nn.Linear(8, 8))
    with torch.no_grad():
        net.first.bias[0] = -1
        net.parts["part"].weight[2, 1:] = 0
    check_compact(net, 6)


@pytest.mark.parametrize("between", [lambda net, h: F.relu(h, inplace=True), lambda net, h: h.sigmoid().__iadd__(h)])
def test_changes_in_place_of_what_nobody_reads_again(between: Callable[[Any, Tensor], Tensor]) -> None:
    assert widths(check_compact(Around(between), 6)) == (6, 6, 3)
