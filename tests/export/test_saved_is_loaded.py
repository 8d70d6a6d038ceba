"""Whatever save_pruned accepts, load_pruned gives back; anything else is refused when it is saved."""

from __future__ import annotations

import copy
import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import refuses
from torch import Tensor, nn

from pyro_vd import InputError, load_pruned, save_pruned
from pyro_vd.export.pruned_file import read_info

INFO = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.tuples(st.integers()),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text() | st.integers(), part, max_size=3),
    max_leaves=6,
)
NUMBERS = st.floats() | st.integers(-2, 3) | st.booleans() | st.sampled_from([np.float64(0.5), 10**400, math.inf])
LAYERS: list[Callable[[Any], nn.Module]] = [
    lambda number: nn.LeakyReLU(number),
    lambda number: nn.Softplus(beta=number),
    lambda number: nn.Dropout(number),
    lambda number: nn.BatchNorm1d(3, eps=number, momentum=None),
    lambda number: nn.BatchNorm1d(3, momentum=number, track_running_stats=False),
    lambda number: nn.LayerNorm(3, eps=number, bias=False),
]
KINDS = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
SPOILERS: list[Callable[[nn.Linear], Any]] = [
    lambda layer: None,
    lambda layer: layer.weight.data.fill_(math.nan),
    lambda layer: layer.register_buffer("extra", torch.zeros(2)),
    lambda layer: setattr(layer, "extra", nn.Parameter(torch.zeros(2))),
    lambda layer: setattr(layer, "bias", None),
    lambda layer: setattr(layer, "in_features", 7),
    lambda layer: setattr(layer, "weight", nn.Parameter(torch.zeros(1).expand(3, 4))),
    lambda layer: setattr(layer, "weight", nn.Parameter(torch.zeros(3, 4, device="meta"))),
    lambda layer: setattr(layer, "forward", lambda x: x[:, :3]),
    lambda layer: setattr(layer, "forward", types.MethodType(lambda self, x: x[:, :3], layer)),
    lambda layer: layer.weight.data.set_(layer.weight.data.t().contiguous().t()),
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_loaded_is_equal_or_saving_was_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    try:
        net = nn.Sequential(nn.Linear(4, 3), data.draw(st.sampled_from(LAYERS))(data.draw(NUMBERS)))
    except (ValueError, TypeError, OverflowError, RuntimeError):
        return  # torch makes no such layer
    net = net.to(data.draw(KINDS)) if data.draw(st.booleans()) else net
    data.draw(st.sampled_from(SPOILERS))(net[0])
    info, layout = data.draw(st.dictionaries(st.text(), INFO, max_size=2)), data.draw(st.sampled_from(["dense", "sparse"]))
    path = tmp_path_factory.mktemp("net") / "file"
    try:
        save_pruned(net, path, info, layout=layout)
    except InputError:
        assert not path.exists()
        return
    check_same(net, load_pruned(path))
    assert read_info(path) == info
    assert repr(read_info(path)) == repr(info)


def check_same(net: nn.Module, loaded: nn.Module) -> None:
    state, found = net.state_dict(), loaded.state_dict()
    assert list(state) == list(found)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    for module, again in zip(net.modules(), loaded.modules(), strict=True):
        assert type(module) is type(again)
        for name, value in vars(module).items():
            if not name.startswith("_") and name != "training":
                assert again.__dict__[name] == value or value != value, name


class Named(nn.Module):
    """A network that its file does not describe."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).relu()


class Activated(nn.Module):
    """A network with a function of the user's choice, which is no method: its class has a default."""

    act: Any = torch.relu

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.act = act

    def before(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.before(x))


def replaced(name: str) -> nn.Module:
    net = Activated(torch.tanh)
    setattr(net, name, lambda *arguments: arguments[-1])
    return net


def of_a_name(name: str) -> nn.Module:
    net = nn.Sequential()
    net.add_module(name, nn.Linear(4, 3))
    return net


def of_weights(weight: Tensor) -> nn.Module:
    layer = nn.Linear(4, 3)
    layer.weight = nn.Parameter(weight)
    return nn.Sequential(layer)


def patched(net: nn.Module) -> nn.Module:
    net.forward = lambda x: x  # type: ignore[method-assign, assignment]
    return net


def counting_in(dtype: torch.dtype) -> nn.Module:
    layer = nn.BatchNorm1d(4)
    layer.num_batches_tracked = torch.tensor(3, dtype=dtype)
    return nn.Sequential(layer)


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "a method": lambda: patched(nn.Sequential(nn.Linear(4, 3))),
    "a method of one's own network": lambda: patched(Named()),
    "a method that forward calls": lambda: replaced("before"),
    "a method of all modules": lambda: replaced("extra_repr"),
    "no Unicode": lambda: of_a_name("\ud800"),
    "infinity": lambda: nn.Sequential(nn.LeakyReLU(math.inf)),
    "NaN": lambda: nn.Sequential(nn.BatchNorm1d(4, eps=math.nan)),
    "another integer": lambda: counting_in(torch.int32),
    "complex numbers": lambda: nn.Sequential(nn.Linear(4, 3, dtype=torch.complex64)),
    "8 bits": lambda: of_weights(torch.ones(3, 4).to(torch.float8_e4m3fn)),
    "no values": lambda: nn.Sequential(nn.Linear(4, 3, device="meta")),
}


@pytest.mark.parametrize("layout", ["dense", "sparse", "quantised"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused_when_it_is_saved(tmp_path: Path, case: str, layout: Literal["dense", "sparse", "quantised"]) -> None:
    with refuses():
        save_pruned(REFUSED[case](), tmp_path / "file", layout=layout)
    assert not list(tmp_path.iterdir())


def test_a_network_of_ones_own_comes_back(tmp_path: Path) -> None:
    net = Named()
    save_pruned(net, path := tmp_path / "file")
    before = copy.deepcopy(other := Named())
    check_same(net, load_pruned(path, other))
    check_same(before, other)


def test_a_default_of_a_class_is_no_method(tmp_path: Path) -> None:
    save_pruned(net := Activated(torch.tanh), path := tmp_path / "net.safetensors")
    loaded = load_pruned(path, net=Activated(torch.tanh))
    assert torch.equal(loaded(torch.ones(2, 4)), net(torch.ones(2, 4)))
