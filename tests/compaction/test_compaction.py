"""Compaction of nn.Sequential: exactly the same function, as small as can be."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compaction_support import check_compact, prune_at_random
from support import refuses
from torch import Tensor, nn

from pyro_vd import compact, evaluate, load_data, load_pruned, save_pruned
from pyro_vd.networks.layers import widths
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.ready import mlp


def by_hand(net: nn.Sequential, activation: Callable[[Tensor], Tensor]) -> tuple[int, ...]:
    """Widths of a multilayer perceptron after units without weights out or in have been taken one by one."""
    weights = [(m.weight.detach().clone(), m.bias.detach().clone()) for m in net if isinstance(m, nn.Linear)]
    alive = [np.ones(n, bool) for n in widths(net)]
    changed = True
    while changed:
        changed = False
        for depth, (weight, bias) in enumerate(weights):
            for unit in np.flatnonzero(alive[depth]):
                unread = not weight[alive[depth + 1], unit].any()
                if depth > 0 and not unread and not weights[depth - 1][0][unit, alive[depth - 1]].any():
                    bias += weight[:, unit] * activation(weights[depth - 1][1][unit])
                    weight[:, unit] = 0
                    unread = True
                if unread:
                    alive[depth][unit], changed = False, True
    return tuple(max(1, int(layer.sum())) for layer in alive)


@pytest.mark.parametrize("seed", range(12))
def test_multilayer_perceptrons(seed: int) -> None:
    torch.manual_seed(seed)
    net = mlp((20, 15, 12, 9, 4)).double()
    prune_at_random(net, density=[0.05, 0.1, 0.2, 0.5][seed % 4], units=[0.2, 0.5, 0.0][seed % 3])
    small = check_compact(net, 20)
    assert widths(small) == by_hand(net, torch.relu)
    assert widths(small) < widths(net)
    assert widths(compact(net)) == widths(small), "an example is not needed"
    assert type(small) is nn.Sequential


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("padding", [0, 1, "same"])
def test_convolutional_networks(seed: int, padding: int | str) -> None:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=padding, bias=seed % 2 == 0), nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=padding),
        nn.Sigmoid(),
        [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d((2, 2))][seed % 3],
        nn.Dropout2d(),
        nn.Flatten(),
        nn.LazyLinear(10),
        nn.BatchNorm1d(10, affine=seed % 4 < 2),
        nn.GELU(),
        nn.Linear(10, 4, bias=False),
    )
    net(torch.randn(3, 3, 12, 12))
    prune_at_random(net)
    assert sum(widths(check_compact(net, 3, 12, 12))) < sum(widths(net))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_rank_and_transposed_convolutions(rank: int) -> None:
    conv, transposed, norm, pool = (
        getattr(nn, f"{kind}{rank}d") for kind in ("Conv", "ConvTranspose", "BatchNorm", "AdaptiveAvgPool")
    )
    layers = [conv(4, 5, 2), norm(5), nn.Tanh(), transposed(5, 6, 3, stride=2), nn.ReLU(), conv(6, 7, 1), pool(1)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(7, 3))
    for _ in range(5):
        prune_at_random(net, density=0.7)
        check_compact(net, 4, *[4] * rank)


def test_nothing_pruned_is_the_same_network() -> None:
    net = mlp((6, 5, 3))
    small = check_compact(net, 6)
    assert repr(small) == repr(net)
    x = torch.randn(5, 6).double()
    assert torch.equal(small(x), net(x)), "to the last bit"


@pytest.mark.parametrize("index", [1, 3, 5])
def test_a_layer_fully_pruned_leaves_the_constant_predictor(index: int, caplog: pytest.LogCaptureFixture) -> None:
    net = mlp((6, 5, 4, 3))
    with torch.no_grad():
        net[index].weight.zero_()
    assert widths(check_compact(net, 6)) == (1, 1, 1, 3)
    assert "constant predictor" in caplog.text


def test_all_inputs_dead_and_dead_outputs(caplog: pytest.LogCaptureFixture) -> None:
    net = mlp((6, 5, 3)).double()
    with torch.no_grad():
        net[3].weight[1:] = 0
    small = check_compact(net, 6)
    assert widths(small) == (6, 5, 3), "output units stay"
    assert not caplog.records
    with torch.no_grad():
        net[1].weight[:, [0, 4]] = 0
    small = check_compact(net, 6)
    assert widths(small) == (4, 5, 3)
    assert small.inputs.index.tolist() == [1, 2, 3, 5]


def test_inputs_are_selected_from_whatever_the_network_took() -> None:
    net = mlp((12, 5, 3))
    with torch.no_grad():
        net[1].weight[:, ::2] = 0
    small, x = compact(net), torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(small(x), net(x))
    torch.testing.assert_close(small(x.flatten(1)), net(x))
    with refuses("x", (4, 11), 12, -1):
        small(torch.randn(4, 11))
    named = nn.Sequential(OrderedDict(flatten=nn.Flatten(), inputs=net[1], last=nn.Linear(5, 2)))
    assert [name for name, _ in compact(named).named_children()] == ["flatten", "inputs_", "inputs", "last"]
    last = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        last[0].weight[:, 1] = 0
    x = torch.randn(3, 7, 4)
    torch.testing.assert_close(compact(last)(x), last(x))
    check_compact(last, 7, 4)


def test_a_compact_network_is_described_by_its_file_and_exported(tmp_path: Path) -> None:
    net = mlp((12, 5, 3))
    prune_at_random(net)
    small, x = compact(net), torch.randn(4, 12)
    assert isinstance(small[1], SelectInputs)
    save_pruned(small, tmp_path / "net")
    assert torch.equal(load_pruned(tmp_path / "net")(x), small(x))
    exported = torch.export.export(small, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(exported.module()(x[:3]), small(x[:3]))
    small[1].index[0] = 12
    with refuses("net", small[1].index.tolist(), "inputs.index", 12):
        save_pruned(small, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_trained_network_on_its_data(finished_run: Path) -> None:
    net, data = load_pruned(finished_run / "pruned.safetensors"), load_data("digits")
    with torch.no_grad():
        for layer in (net[1], net[3]):
            layer.weight *= layer.weight.abs() > layer.weight.abs().quantile(0.95)
    small = compact(net)
    assert widths(small) < widths(net)
    torch.testing.assert_close(small.double()(data.x_train.double()), net.double()(data.x_train.double()), rtol=0, atol=1e-6)
    wanted, found = (evaluate(n.float(), data.test) for n in (net, small))
    assert found.error == wanted.error
    assert found.nll == pytest.approx(wanted.nll, rel=1e-6)


def test_data_types_and_frozen_parameters() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        net: Any = mlp((6, 5, 3)).to(dtype)
        prune_at_random(net)
        net[1].weight.requires_grad_(False)
        small: Any = compact(net)
        assert {p.dtype for p in small.parameters()} == {dtype}
        assert [p.requires_grad for p in small.parameters()] == [False, True, True, True]


def test_messages_are_only_for_what_matters(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pyro_vd")
    net = nn.Sequential(mlp((6, 5, 3)), nn.LogSoftmax(1))
    check_compact(net, 6)
    assert not caplog.records
