"""Sparse and quantised files: what comes back, how small they are, and that others can read them."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from scipy.sparse import csr_array
from support import python, refuses
from torch import Tensor, nn

from pyro_vd import compact, load_pruned, save_pruned
from pyro_vd.export.pruned_file import read_info
from pyro_vd.export.sparse_file import pack, unpack
from pyro_vd.networks.ready import mlp


@torch.no_grad()
def pruned(net: nn.Module, share: float = 0.9) -> nn.Module:
    """The network with that share of its weights zero."""
    for weight in net.parameters():
        if weight.ndim > 1:
            weight *= torch.rand_like(weight) >= share
    return net.eval()


def convolutional() -> nn.Sequential:
    """Convolutions, one of them transposed and one grouped, normalisation and a linear layer, for inputs (n, 1, 8, 8)."""
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(8, 6, 2), nn.Flatten(), nn.Linear(96, 10))


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "mlp": (lambda: pruned(mlp((64, 30, 20, 10))), (8, 8)),
    "convolutional": (lambda: pruned(convolutional(), 0.7), (1, 8, 8)),
    "all zero": (lambda: pruned(mlp((64, 30, 10)), 2.0), (8, 8)),
    "nothing pruned": (lambda: pruned(mlp((64, 30, 10)), -1.0), (8, 8)),
    "one layer gone": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 30), pruned(nn.Linear(30, 10), 2.0)), (8, 8)),
    "float64": (lambda: pruned(mlp((64, 30, 10))).double(), (8, 8)),
    "bfloat16": (lambda: pruned(mlp((64, 30, 10))).bfloat16(), (8, 8)),
}


@pytest.mark.parametrize("layout", ["sparse", "quantised"])
@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip(tmp_path: Path, name: str, layout: Any) -> None:
    make, shape = NETWORKS[name]
    net = make()
    path = tmp_path / "net.safetensors"
    save_pruned(net, path, {"data": "mine"}, layout=layout)
    again = load_pruned(path)
    assert repr(again) == repr(net)
    assert read_info(path) == {"data": "mine"}
    assert not again.training
    for (key, wanted), (other, found) in zip(net.state_dict().items(), again.state_dict().items(), strict=True):
        assert (key, wanted.dtype, wanted.shape) == (other, found.dtype, found.shape)
        if layout == "quantised" and wanted.ndim > 1:
            assert torch.equal(wanted == 0, found == 0)
            assert len(found.unique()) <= 65 or torch.equal(found, wanted), "64 values where they are smaller"
            assert (wanted - found).abs().max() <= 0.03 * wanted.abs().max()
        else:
            assert torch.equal(wanted, found)
    if layout == "sparse":
        x = torch.randn(7, *shape).to(next(net.parameters()).dtype)
        assert torch.equal(again(x), net.eval()(x))
    save_pruned(copy.deepcopy(net), tmp_path / "same", {"data": "mine"}, layout=layout)
    assert (tmp_path / "same").read_bytes() == path.read_bytes()


def lenet(nonzero: int) -> nn.Sequential:
    """784-300-100-10 with so many weights, where a trained network has them: few inputs and units carry most of them."""
    net = mlp((784, 300, 100, 10))
    for layer, share, rows, columns in ((1, 0.74, 100, 440), (3, 0.16, 40, 100), (5, 0.1, 10, 40)):
        weight = net[layer].weight
        kept = torch.zeros(len(weight), weight.shape[1], dtype=torch.bool)
        block = torch.zeros(rows * columns, dtype=torch.bool)
        block[torch.randperm(len(block))[: round(share * nonzero)]] = True
        kept[torch.randperm(len(kept))[:rows, None], torch.randperm(kept.shape[1])[:columns]] = block.reshape(rows, columns)
        weight.data *= kept
    return net.eval()


def test_size_of_lenet(tmp_path: Path) -> None:
    """At 2,400 of 266,200 weights the compact exact file is at most a sixtieth of the dense one, the quantised far below."""
    net = lenet(2400)
    assert sum(int(weight.count_nonzero()) for weight in net.parameters() if weight.ndim > 1) == 2400
    sizes = {}
    for name, network in (("masked", net), ("compact", compact(net))):
        for layout in ("dense", "sparse", "quantised"):
            save_pruned(network, tmp_path / name, layout=layout)
            sizes[name, layout] = (tmp_path / name).stat().st_size
    dense = sizes["masked", "dense"]
    assert dense < 266_610 * 4 + 2000
    assert sizes["masked", "sparse"] < dense / 59
    assert sizes["masked", "quantised"] < dense / 88
    assert sizes["compact", "sparse"] < dense / 61
    assert sizes["compact", "quantised"] < dense / 92


def test_dense_where_dense_is_smaller() -> None:
    for share, sparse in ((0.2, False), (0.6, True)):
        weight = pruned(nn.Linear(300, 300, bias=False), share).weight.detach()
        stored = pack({"weight": weight})
        assert set(stored) == ({"weight.crow", "weight.col", "weight.values"} if sparse else {"weight"})
        assert sum(part.nbytes for part in stored.values()) <= weight.nbytes


@pytest.mark.parametrize(
    ("columns", "kind"), [(256, torch.uint8), (257, torch.int16), (32768, torch.int16), (32769, torch.int32)]
)
def test_the_smallest_integers(columns: int, kind: torch.dtype) -> None:
    weight = torch.zeros(40, columns)
    weight[1, columns - 1] = weight[39, 0] = 2.0
    stored = pack({"weight": weight})
    assert (stored["weight.col"].dtype, stored["weight.crow"].dtype) == (kind, torch.uint8)
    assert torch.equal(unpack("here", stored, {"weight": weight})["weight"], weight)


@pytest.mark.parametrize(
    ("value", "kind"), [(255, torch.uint8), (-1, torch.int16), (2**15, torch.int32), (-(2**40), torch.int64)]
)
def test_integers_are_stored_in_the_smallest(value: int, kind: torch.dtype) -> None:
    tensors = {"index": torch.tensor([0, value]), "batches": torch.tensor(value)}
    stored = pack(tensors)
    assert {tensor.dtype for tensor in stored.values()} == {kind}
    again = unpack("here", stored, tensors)
    assert all(torch.equal(again[name], tensor) and again[name].dtype == torch.int64 for name, tensor in tensors.items())


def test_scipy_reads_the_rows(tmp_path: Path) -> None:
    net = convolutional()
    save_pruned(pruned(net), tmp_path / "net", layout="sparse")
    stored = load_file(tmp_path / "net")
    for name in ("3.weight", "7.weight"):
        weight = net.get_parameter(name).detach()
        rows = csr_array((stored[f"{name}.values"], stored[f"{name}.col"], stored[f"{name}.crow"]), weight.flatten(1).shape)
        rows.check_format(full_check=True)
        assert rows.has_canonical_format
        assert (rows.toarray() == weight.flatten(1).numpy()).all()


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_nothing_is_written_for_broken_weights(tmp_path: Path, broken: float) -> None:
    net = pruned(mlp((64, 30, 10)))
    net[1].weight.data[2, 3] = broken
    with refuses("net", ["1.weight"], "1.weight"):
        save_pruned(net, tmp_path / "net", layout="quantised")
    with refuses("layout", "csr", "dense, sparse, quantised"):
        save_pruned(net, tmp_path / "net", layout="csr")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(50, 50), nn.Linear(50, 50)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) * self.b(x)


def test_a_network_of_ones_own_class(tmp_path: Path) -> None:
    net = pruned(Gated())
    save_pruned(net, tmp_path / "net", layout="sparse")
    with refuses("net", None, tmp_path / "net", "load_pruned"):
        load_pruned(tmp_path / "net")
    again = load_pruned(tmp_path / "net", Gated())
    x = torch.randn(3, 50)
    assert torch.equal(again(x), net(x))


WITHOUT_PYRO = """
import sys
sys.modules["pyro"] = sys.modules["sklearn"] = None
import json, torch, pyro_vd
print(json.dumps([pyro_vd.load_pruned(path)(torch.ones(1, 8, 8)).tolist() for path in sys.argv[1:]]))
"""


def test_loads_without_pyro(tmp_path: Path) -> None:
    paths = tmp_path / "sparse", tmp_path / "quantised"
    save_pruned(net := pruned(mlp((64, 30, 10))), paths[0], layout="sparse")
    save_pruned(net, paths[1], layout="quantised")
    done = python(WITHOUT_PYRO, *paths)
    assert done.stderr == ""
    assert json.loads(done.stdout) == [load_pruned(path)(torch.ones(1, 8, 8)).tolist() for path in paths]
