"""Pruned networks on disk: read back equal, without Pyro."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import python, refuses
from torch import Tensor, nn

from pyro_vd import load_pruned, save_pruned
from pyro_vd.export.architecture import buildable
from pyro_vd.export.pruned_file import read_info
from pyro_vd.runtime.csr import CSRNetwork

MADE: dict[str, tuple[Any, ...]] = {
    "Standardize": (3,),
    "Linear": (3, 4, False),
    **{f"Conv{d}d": (2, 3, 3, 2, 1) for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": (2, 3, 3, 2, 1) for d in (1, 2, 3)},
    **{f"{kind}Pool{d}d": (3, 2, 1) for kind in ("Max", "Avg") for d in (1, 2)},
    "AdaptiveAvgPool2d": ((2, None),),
    "Embedding": (5, 3, 2),
    "Unflatten": (1, (1, 3)),
    "EmbeddingBag": (5, 3, None, 2.0, False, "sum"),
    "RemappedEmbedding": (5, 3, 2, 4, 1),
    "RemappedEmbeddingBag": (5, 3, 2, "sum", True, 4, 1),
    **{f"BatchNorm{d}d": (3, 1e-3, None) for d in (1, 2, 3)},
    "LayerNorm": ((3, 4), 1e-3, False),
    "PartialNorm": ((5,), 2, None, True, True, False, 1),
    "LeakyReLU": (0.3,),
    "Softplus": (2.0, 5.0),
    "GELU": ("tanh",),
    "Dropout": (0.2,),
    "Flatten": (2, 3),
    "SelectInputs": (5, 3, 1),
}


@pytest.fixture
def small() -> nn.Sequential:
    """A convolutional network with batch normalisation, nested, some of it pruned."""
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
    net(torch.randn(20, 1, 4, 4))
    with torch.no_grad():
        net[0].weight[0] = 0
    return net.eval()


@pytest.mark.parametrize("name", buildable())
def test_every_layer_comes_back(tmp_path: Path, name: str) -> None:
    net = nn.Sequential(buildable()[name](*MADE.get(name, ())))
    save_pruned(net, tmp_path / "net")
    again = load_pruned(tmp_path / "net")
    assert repr(again) == repr(net)
    assert {key: t.tolist() for key, t in again.state_dict().items()} == {k: t.tolist() for k, t in net.state_dict().items()}


def test_same_outputs_and_info(tmp_path: Path, small: nn.Sequential) -> None:
    x = torch.randn(5, 1, 4, 4)
    save_pruned(small.train(), tmp_path / "net", {"data": "mine", "seed": 3})
    assert small.training
    again = load_pruned(tmp_path / "net")
    assert not again.training
    assert torch.equal(again(x), small.eval()(x))
    assert all(type(p) is nn.Parameter and p.device.type == "cpu" for p in again.parameters())
    assert read_info(tmp_path / "net") == {"data": "mine", "seed": 3}
    save_pruned(nn.Sequential(nn.Linear(1, 1)), tmp_path / "net")
    assert len(list(load_pruned(tmp_path / "net").parameters())) == 2, "an existing file is replaced"
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


class Doubled(nn.Module):
    def __init__(self, units: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(units, units)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.layer(x)


def test_a_network_of_ones_own_class_is_given_again(tmp_path: Path) -> None:
    net = Doubled()
    save_pruned(nn.Sequential(net), tmp_path / "net")
    with refuses("net", None, tmp_path / "net", "load_pruned"):
        load_pruned(tmp_path / "net")
    x = torch.randn(3, 2)
    assert torch.equal(load_pruned(tmp_path / "net", nn.Sequential(Doubled()))(x), net(x))
    with refuses(str(tmp_path / "net"), ["0.layer.weight", "0.layer.bias"], "0.layer.weight", (2, 2), (3, 3)):
        load_pruned(tmp_path / "net", nn.Sequential(Doubled(3)))


def test_a_shared_weight_stays_shared(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    save_pruned(net, tmp_path / "net")
    with refuses("net", None, tmp_path / "net", "load_pruned"):
        load_pruned(tmp_path / "net")
    other = nn.Linear(2, 2)
    again = load_pruned(tmp_path / "net", nn.Sequential(other, nn.ReLU(), other))
    assert again[0].weight is again[2].weight
    assert torch.equal(again(torch.eye(2)), net(torch.eye(2)))
    assert sorted(load_file(tmp_path / "net")) == ["0.bias", "0.weight"], "the file holds it once"
    with refuses(str(tmp_path / "net"), ["2.weight", "2.bias"], "2.weight", "missing"):
        load_pruned(tmp_path / "net", nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)))


WITHOUT_PYRO = """
import sys
sys.modules["pyro"] = None
import pyro_vd
from pyro_vd.cli import main as cli
try:
    pyro_vd.models.MLP
except ImportError:
    net = pyro_vd.load_pruned(sys.argv[1])
    print(net(pyro_vd.load_data("digits").x_test[:1]).shape, file=sys.stderr)
    cli.main(["evaluate", sys.argv[1], "--json"])
"""


@pytest.mark.slow
def test_runs_where_pyro_is_not_installed(finished_run: Path) -> None:
    done = python(WITHOUT_PYRO, finished_run / "pruned.safetensors")
    assert (done.returncode, done.stderr) == (0, "torch.Size([1, 10])\n")
    measured = json.loads((finished_run / "metrics.json").read_text())["networks"]["pruned"]
    assert json.loads(done.stdout)["networks"]["pruned"] == measured


def test_a_network_with_forward_hooks_is_refused(tmp_path: Path, small: nn.Sequential) -> None:
    """A file holds tensors: the network that is read would be another function."""
    for path, kind, register in (
        ("0", "Conv2d", small[0].register_forward_hook),
        ("3.1", "Linear", small[3][1].register_forward_pre_hook),
    ):
        handle = register(lambda module, given, *output: 2 * (output or given)[0])
        with refuses(path, kind, path, kind):
            save_pruned(small, tmp_path / "net")
        assert list(tmp_path.iterdir()) == []
        handle.remove()
    save_pruned(small, tmp_path / "net")


def test_parametrizations_and_hooks_of_the_state_are_kept(tmp_path: Path) -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2))

    net = network()
    net.register_state_dict_post_hook(lambda *_: None)
    net[1]._register_state_dict_hook(lambda *_: None)
    save_pruned(net, tmp_path / "net")
    x = torch.randn(5, 4)
    assert torch.equal(load_pruned(tmp_path / "net", network())(x), net(x))


def test_a_form_for_running_is_not_saved(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    with refuses("net", ["steps.0.weight", "steps.2.weight"], "CSRNetwork", "layout='sparse'"):
        save_pruned(CSRNetwork(net), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())
