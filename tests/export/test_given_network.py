"""Networks of one's own class, compact ones too: written with what a file can say of them, read into the class again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compaction_support import prune_at_random
from safetensors import safe_open
from safetensors.torch import save_file
from support import ANYTHING, refuses
from torch import Tensor, nn
from torchvision.models import mnasnet0_5

from pyro_vd import compact, fine_tune, load_pruned, save_pruned
from pyro_vd.networks.layers import widths
from pyro_vd.networks.modules import SelectInputs

LAYOUTS = ["dense", "sparse", "quantised"]


class Own(nn.Module):
    """Two linear layers, without biases at first."""

    def __init__(self, hidden: int = 40, inputs: int = 12, outputs: int = 3) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.sigmoid(self.first(x)))


class Convolutional(nn.Module):
    """Every kind of layer that compaction makes smaller, and one that it leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.up = nn.ConvTranspose2d(12, 10, 2, stride=2)
        self.norm = nn.BatchNorm2d(10, affine=False)
        self.grouped = nn.Conv2d(10, 10, 3, groups=2)
        self.last = nn.ModuleDict({"hidden": nn.Linear(10, 20), "out": nn.Linear(20, 4)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.norm(self.up(self.first(x))).relu()).mean((2, 3))
        return self.last["out"](self.last["hidden"](x).relu())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (Own, (12,)),
    "linear, for images": (lambda: Flat(Own()), (3, 4)),
    "convolutional": (Convolutional, (3, 6, 6)),
    "in a Sequential": (lambda: nn.Sequential(nn.Flatten(), Own(outputs=8), nn.GroupNorm(2, 8), nn.Linear(8, 3)), (3, 4)),
    "in a Sequential without flattening": (lambda: nn.Sequential(Own(outputs=8), nn.PReLU(8), nn.Linear(8, 3)), (12,)),
    "tied": (lambda: tied(), (12,)),
}


class Flat(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.inner = net

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(1))


def tied() -> nn.Sequential:
    layer = nn.Linear(9, 9)
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 9), layer, nn.ReLU(), layer, nn.Linear(9, 3))


def made(name: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """A pruned network, its compact form and an input."""
    make, shape = NETWORKS[name]
    net = make().eval()
    prune_at_random(net, density=0.5, units=0.4)
    x = torch.randn(5, *shape)
    small = compact(net, x)
    assert sum(p.numel() for p in small.parameters()) < 0.8 * sum(p.numel() for p in net.parameters())
    return net, small, x


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_compact_network_is_read_into_its_class(tmp_path: Path, name: str, layout: Any) -> None:
    _, small, x = made(name)
    save_pruned(small, tmp_path / "net", layout=layout)
    given = NETWORKS[name][0]()
    before = {key: tensor.clone() for key, tensor in given.state_dict().items()}
    again = load_pruned(tmp_path / "net", given)
    assert (repr(again), again.training) == (repr(small), False)
    assert widths(again) == widths(small)
    if layout == "quantised":
        torch.testing.assert_close(again(x), small(x), rtol=0.2, atol=0.2)
    else:
        assert torch.equal(again(x), small(x))
    assert all(torch.equal(before[key], tensor) for key, tensor in given.state_dict().items()), "the given one is left as it is"
    for other in (small, again):  # of the same sizes already
        assert torch.equal(load_pruned(tmp_path / "net", other)(x), again(x))
    save_pruned(again, tmp_path / "twice", layout=layout)
    assert torch.equal(load_pruned(tmp_path / "twice", given)(x), again(x))


def test_one_made_smaller_twice_and_trained_on(tmp_path: Path) -> None:
    _, small, x = made("convolutional")
    prune_at_random(small, density=0.8, units=0.2)
    smaller = compact(small, x)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in small.parameters())
    fine_tune(smaller, (torch.randn(20, 3, 6, 6), torch.arange(20) % 4), epochs=1, progress=False)
    save_pruned(smaller, tmp_path / "net", layout="sparse")
    assert torch.equal(load_pruned(tmp_path / "net", Convolutional())(x), smaller(x))


def test_biases_that_compaction_adds(tmp_path: Path) -> None:
    net = Own()
    with torch.no_grad():
        net.first.weight[::2] = 0  # sigmoid(0) is a half, whatever the input
    small = compact(net)
    assert small.last.bias is not None
    save_pruned(small, tmp_path / "net")
    x = torch.randn(4, 12)
    assert torch.equal(load_pruned(tmp_path / "net", Own())(x), small(x))


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "more units": lambda: Own(41),
    "fewer units": lambda: Own(39),
    "tiny": lambda: Own(2),
    "more inputs": lambda: Own(inputs=13),
    "more outputs": lambda: Own(outputs=4),
    "another class": Convolutional,
    "a Sequential": lambda: nn.Sequential(nn.Linear(12, 40), nn.Linear(40, 3)),
}


@pytest.mark.parametrize("compacted", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("other", OTHERS)
def test_another_architecture_is_told_from_a_corrupt_file(tmp_path: Path, other: str, layout: Any, compacted: bool) -> None:
    net, small, _ = made("linear")
    save_pruned(small if compacted else net, tmp_path / "net", layout=layout)
    with refuses(str(tmp_path / "net"), ANYTHING, "architecture"):
        load_pruned(tmp_path / "net", OTHERS[other]())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_so_it_is_of_a_described_one(tmp_path: Path, layout: Any) -> None:
    net = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 3))
    prune_at_random(net)
    save_pruned(net, tmp_path / "net", layout=layout)
    for given in (nn.Sequential(nn.Linear(31, 20), nn.Linear(20, 3)), nn.Sequential(nn.Linear(30, 20))):
        with refuses(str(tmp_path / "net"), ANYTHING, "architecture"):
            load_pruned(tmp_path / "net", given)


def with_sizes(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with other sizes written in it."""
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["pyro_vd network 1"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(described["sizes"])
    save_file(tensors, path.with_name("bad"), {"pyro_vd network 1": json.dumps(described)})
    return path.with_name("bad")


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "no shapes": lambda sizes: sizes.pop("shapes"),
    "shapes of text": lambda sizes: sizes["shapes"].update({"net.first.weight": "big"}),
    "giant shape": lambda sizes: sizes["shapes"].update({"net.first.weight": [10**9, 10**9]}),
    "negative shape": lambda sizes: sizes["shapes"].update({"net.first.weight": [-1, 12]}),
    "a number": lambda sizes: sizes.update(shapes=3),
    "layer that is not there": lambda sizes: sizes["whole"].update({"net.third.weight": [2, 2]}),
    "tensor that is not there": lambda sizes: sizes["whole"].update({"net.first.scale": [2, 2]}),
    "before of another rank": lambda sizes: sizes["whole"].update({"net.first.weight": [40]}),
    "no front": lambda sizes: sizes.update(front=None),
    "front of text": lambda sizes: sizes.update(front="inputs"),
    "front of giants": lambda sizes: sizes["front"].update(features=10**12, name="net"),
    "features of text": lambda sizes: sizes["front"].update(features="12"),
    "fewer features": lambda sizes: sizes["front"].update(features=2),
    "another argument": lambda sizes: sizes["front"].update(cls="Linear"),
    "other features": lambda sizes: sizes["front"].update(features=13),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", HOSTILE)
def test_sizes_in_a_file_are_not_trusted(tmp_path: Path, name: str, layout: Any) -> None:
    _, small, _ = made("linear")
    save_pruned(small, tmp_path / "net", layout=layout)
    bad = with_sizes(tmp_path / "net", HOSTILE[name])
    with refuses(str(bad)):
        load_pruned(bad, Own())


def test_versions_of_modules_are_kept(tmp_path: Path) -> None:
    """Some modules read their state by their version: without it mnasnet takes it for one of another layout."""
    net = mnasnet0_5(num_classes=5).eval()
    for layout in ("dense", "sparse"):
        save_pruned(net, tmp_path / "net", layout=layout)
        again = load_pruned(tmp_path / "net", mnasnet0_5(num_classes=5))
        assert repr(again) == repr(net)
        x = torch.randn(1, 3, 32, 32)
        assert torch.equal(again(x), net(x))


MESSAGES: dict[str, tuple[Callable[[], nn.Module], str | None]] = {
    "own class": (Own, "how to build Own:"),
    "in a Sequential": (
        lambda: nn.Sequential(nn.Flatten(), nn.Sequential(nn.GroupNorm(1, 4), nn.ReLU(), nn.GroupNorm(1, 4)), Own()),
        "how to build GroupNorm (1.0, 1.2); Own (2):",
    ),
    "no deeper": (lambda: nn.Sequential(Flat(nn.Sequential(Own(), nn.PReLU())), nn.ReLU()), "how to build Flat (0):"),
    "tied": (tied, "how to build layers that share a parameter:"),
    "described": (lambda: nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), SelectInputs(2, 1))), None),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_a_file_cannot_describe_is_named_when_it_is_written(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, message = MESSAGES[name]
    save_pruned(make(), tmp_path / "net")
    assert len(caplog.records) == (message is not None)
    if message:
        assert f"{message} load_pruned(path, net=...) will need the network" in caplog.text


class WithExtraState(Own):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 3}

    def set_extra_state(self, state: object) -> None: ...


def test_a_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    with refuses("net", ["_extra_state"], "WithExtraState", "_extra_state"):
        save_pruned(WithExtraState(), tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_the_memory_of_sizes_goes_with_copies() -> None:
    _, small, x = made("linear")
    assert compact(copy.deepcopy(small), x).net.first.whole_shapes == small.net.first.whole_shapes
