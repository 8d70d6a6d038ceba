"""What surviving_units says of each layer is what the compact network has there: its sizes, and the entries of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from compaction_support import prune_at_random
from hypothesis import given
from strategies import Case, examples, networks
from torch import Tensor, nn

from pyro_vd import compact, surviving_units
from pyro_vd.compaction import LayerUnits, unit_counts
from pyro_vd.networks.layer_registry import kind_of


@torch.no_grad()
def check(net: nn.Module, x: Any) -> dict[str, LayerUnits]:
    """Compare what is said of every layer with the compact network, and return it."""
    found, small = surviving_units(net, x), compact(net, x)
    inner = small if all(hasattr(small, path.split(".")[0]) for path in found) else small.get_submodule("net")
    for path, left in found.items():
        whole: Any = net.get_submodule(path)
        layer: Any = inner.get_submodule(path)
        kind = kind_of(layer)
        assert kind is not None
        assert (left.kind, left.all_inputs, left.all_units) == (type(whole).__name__, *kind.units(whole))
        assert (len(left.inputs), len(left.units)) == kind.units(layer), path
        if not kind.is_dense(whole):
            continue
        for name, axes in kind.weights(layer).items():
            wanted = getattr(whole, name)
            for axis, kept in (("in", left.inputs), ("out", left.units)):
                wanted = wanted.index_select(axes.index(axis), torch.tensor(kept))
            weight = getattr(layer, name)
            assert torch.equal(weight, wanted.where(weight != 0, 0)), f"{path}: entries of other units"
    return found


@examples(15)
@given(case=networks(trouble=False))
def test_random_networks(case: Case) -> None:
    check(case.net, case.batch(2))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "fully connected": (lambda: nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3)), (9,)),
    "one layer": (lambda: nn.Sequential(nn.Linear(9, 3)), (9,)),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 3)
        ),
        (2, 8, 8),
    ),
    "groups": (lambda: nn.Sequential(nn.Conv1d(8, 12, 3, groups=4), nn.ReLU(), nn.Conv1d(12, 4, 1)), (8, 9)),
    "depthwise": (
        lambda: nn.Sequential(nn.Conv1d(4, 8, 1), nn.ReLU(), nn.Conv1d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv1d(8, 3, 1)),
        (4, 9),
    ),
    "transposed, groups": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 8, 1), nn.ReLU(), nn.ConvTranspose1d(8, 12, 3, groups=2), nn.ReLU(), nn.Conv1d(12, 3, 1)
        ),
        (4, 9),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(2))
def test_layers(name: str, seed: int) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(seed)
    net = make().double()
    prune_at_random(net, units=0.4)
    found = check(net, torch.randn(2, *shape).double())
    layers = [module for module in net.modules() if kind_of(module) is not None]
    counts = unit_counts(found)
    assert len(counts) == len(layers)
    assert (sum(counts) < sum(left.all_inputs for left in found.values())) or name == "one layer"


class Recurrent(nn.Module):
    """An LSTM with two layers in both directions, of which a layer reads the states at the last position."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.out(self.lstm(x)[0][:, -1])
        return made


@torch.no_grad()
def test_recurrent_layers_have_units_by_layer_and_direction() -> None:
    torch.manual_seed(0)
    net = Recurrent().double()
    for name, parameter in net.lstm.named_parameters():
        gone = 2 if name.endswith("l1_reverse") else 4
        if name.startswith("bias") or "_ih_" in name or "_hh_" in name:
            parameter.unflatten(0, (4, 5))[:, gone] = 0
    found = surviving_units(net, torch.randn(2, 4, 3).double())
    assert list(found) == ["lstm.l0", "lstm.l0_reverse", "lstm.l1", "lstm.l1_reverse", "out"]
    assert found["lstm.l0"].units == found["lstm.l1"].units == (0, 1, 2, 3)
    assert found["lstm.l1_reverse"].units == (0, 1, 3, 4)
    assert found["lstm.l1"].inputs == (0, 1, 2, 3, 5, 6, 7, 8)
    assert found["out"].inputs == (0, 1, 2, 3, 5, 6, 8, 9)
    assert (found["lstm.l1"].all_inputs, found["out"].all_inputs) == (10, 10)
    small: Any = compact(net, torch.randn(2, 4, 3).double())
    assert small.lstm.weight_ih_l1.shape[1] == len(found["lstm.l1"].inputs)
    weight = net.lstm.weight_hh_l1_reverse.unflatten(0, (4, 5))[:, list(found["lstm.l1_reverse"].units)]
    assert torch.equal(small.lstm.weight_hh_l1_reverse, weight[..., list(found["lstm.l1_reverse"].units)].flatten(0, 1))


@torch.no_grad()
def test_attention_has_the_units_of_its_values() -> None:
    torch.manual_seed(0)

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.out(self.attention(x, x, x, need_weights=False)[0])
            return made

    net = Attending().double().eval()
    net.attention.out_proj.weight[:, :4] = 0  # nobody reads the first head
    net.attention.out_proj.weight[3] = 0
    net.attention.out_proj.bias[3] = 0
    found = surviving_units(net, torch.randn(2, 5, 8).double())
    assert found["attention"].units == found["attention.out_proj"].inputs == (4, 5, 6, 7)
    assert found["attention.out_proj"].units == found["out"].inputs == (0, 1, 2, 4, 5, 6, 7)
    assert repr(found["attention"]) == "LayerUnits(MultiheadAttention: 8 of 8 inputs, 4 of 8 units)"
