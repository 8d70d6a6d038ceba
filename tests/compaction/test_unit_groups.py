"""The groups of units that go together: through sums, convolutions, shuffles, heads, gates, flattening, layers used twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import refuses
from torch import Tensor, nn
from zoo import ZOO, RecurrentClassifier, Specimen

from pyro_vd.compaction import UnitGroups, unit_groups


class Function(nn.Module):
    """Modules by name, and a forward pass."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.does = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self, x)


def same(found: UnitGroups, *places: tuple[str, int]) -> bool:
    first, *others = (found.groups[name][dim].tolist() for name, dim in places)
    return all(other == first for other in others)


def test_a_chain_has_one_group_per_unit_and_the_outputs_are_fixed() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    found = unit_groups(net, torch.randn(2, 4))
    names = ("1.weight", "1.bias", "1.running_mean", "1.running_var", "0.weight", "0.bias")
    assert same(found, *((name, 0) for name in names), ("3.weight", 1))
    assert len(found.groups["0.weight"][0].unique()) == 5
    assert found.fixed.tolist() == sorted(found.groups["3.weight"][0].tolist())
    assert same(found, ("3.weight", 0), ("3.bias", 0))
    assert net.training, "the network is as it was"


def test_sums_depthwise_convolutions_and_flattening() -> None:
    net = Function(
        lambda m, x: m.last((m.a(x) + m.deep(m.b(x))).flatten(1)),
        a=nn.Conv2d(3, 4, 3, padding=1),
        b=nn.Conv2d(3, 4, 1),
        deep=nn.Conv2d(4, 4, 3, padding=1, groups=4),
        last=nn.Linear(4 * 9, 2),
    )
    found = unit_groups(net, torch.randn(2, 3, 3, 3))
    assert same(found, ("a.weight", 0), ("b.weight", 0), ("deep.weight", 0), ("deep.bias", 0))
    assert found.groups["last.weight"][1].tolist() == found.groups["a.weight"][0].repeat_interleave(9).tolist()
    assert 1 not in found.groups["deep.weight"]


def test_concatenation_and_a_shuffle_of_channels() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        h = torch.cat([m.a(x), m.b(x)], 1)
        return m.last(h.view(-1, 2, 3).transpose(1, 2).reshape(-1, 6))

    net = Function(forward, a=nn.Linear(4, 3), b=nn.Linear(4, 3), last=nn.Linear(6, 2))
    found = unit_groups(net, torch.randn(2, 4))
    a, b = found.groups["a.weight"][0].tolist(), found.groups["b.weight"][0].tolist()
    assert found.groups["last.weight"][1].tolist() == [a[0], b[0], a[1], b[1], a[2], b[2]]


def test_gates_of_a_recurrent_layer_go_together() -> None:
    found = unit_groups(RecurrentClassifier(nn.LSTM), torch.randint(40, (2, 8)))
    units = found.groups["recurrent.weight_hh_l0"][1].tolist()
    assert found.groups["recurrent.weight_ih_l0"][0].tolist() == units * 4
    assert same(found, *((f"recurrent.{name}_l0", 0) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
    assert same(found, ("recurrent.weight_hh_l0", 1), ("recurrent.weight_ih_l1", 1))
    assert same(found, ("embedding.weight", 1), ("recurrent.weight_ih_l0", 1))
    assert same(found, ("recurrent.weight_hh_l1", 1), ("head.weight", 1))


def test_heads_of_attention() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.first, self.last = (
                nn.MultiheadAttention(8, 2, batch_first=True),
                nn.Linear(3, 8),
                nn.Linear(8, 2),
            )

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            return self.last(self.attention(h, h, h, need_weights=False)[0])

    found = unit_groups(Attention(), torch.randn(2, 5, 3))
    (heads,) = found.heads
    query, key, value = found.groups["attention.in_proj_weight"][0].reshape(3, 2, 4)
    assert torch.equal(heads.query, query)
    assert torch.equal(query, key)
    assert torch.equal(heads.value, value)
    assert torch.equal(found.groups["attention.out_proj.weight"][1], value.flatten())
    assert same(found, ("attention.in_proj_weight", 1), ("first.weight", 0))


def test_units_that_a_layer_normalisation_reads_are_one_group_each() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2))
    found = unit_groups(net, torch.randn(2, 4))
    assert same(found, ("0.weight", 0), ("1.weight", 0), ("2.weight", 1))
    assert found.fixed.tolist() == sorted(found.groups["4.weight"][0].tolist())


def test_channels_of_a_group_normalisation_go_by_group() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(3, 6), nn.Linear(6, 2))
    found = unit_groups(net, torch.randn(2, 4))
    assert same(found, ("0.weight", 0), ("1.weight", 0), ("1.bias", 0), ("2.weight", 1))
    first, *_ = of_channels = found.groups["0.weight"][0].tolist()
    assert of_channels == [first, first, first + 1, first + 1, first + 2, first + 2]


def test_a_layer_used_twice_ties_its_units() -> None:
    layer = nn.Linear(4, 4)
    found = unit_groups(nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, 2)), torch.randn(2, 4))
    assert same(found, ("0.weight", 0), ("0.weight", 1), ("3.weight", 1))


def test_what_cannot_be_followed_has_no_groups() -> None:
    net = Function(lambda m, x: m.a(x) if x.sum() > 0 else -m.a(x), a=nn.Linear(4, 3))
    found = unit_groups(net, torch.randn(2, 4))
    assert not found.groups
    assert found.reason
    with refuses("net", "net", "str"):
        unit_groups("net", torch.randn(2, 4))  # type: ignore[arg-type]
    with refuses("example"):
        unit_groups(nn.Linear(4, 3), torch.randn(2, 5))


@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_every_parameter_of_networks_of_others_has_groups(specimen: Specimen) -> None:
    net, (x, _) = specimen.seeded(), specimen.seeded_batch(2)
    found = unit_groups(net, x)
    assert found.reason is None
    for name, parameter in net.named_parameters():
        assert found.groups[name], name
        for dim, groups in found.groups[name].items():
            assert groups.shape == parameter.shape[dim : dim + 1], name
    every = torch.cat([groups for by_dim in found.groups.values() for groups in by_dim.values()]).unique()
    assert set(found.fixed.tolist()) < set(every.tolist())
