"""Spoilt and hostile sparse files: an error in one line, no index out of range, no memory that the file does not justify."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import ANYTHING, contents, refused, refuses
from torch import Tensor, nn

from pyro_vd import InputError, load_pruned, save_pruned
from pyro_vd.networks.modules import SelectInputs

NAN = torch.nan


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A sparse file of a layer whose weight is [[0, 1, 0, 2] + 16 zeros, 20 zeros, 3 and 19 zeros] and has no codebook."""
    layer = nn.Linear(20, 3)
    layer.weight.data.zero_()
    layer.weight.data[0, 1], layer.weight.data[0, 3], layer.weight.data[2, 0] = 1.0, 2.0, 3.0
    save_pruned(nn.Sequential(layer), tmp_path / "good", {"data": "digits"}, layout="sparse")
    return tmp_path / "good"


def spoil(good: Path, changes: dict[str, Tensor | None]) -> Path:
    """The good file with other tensors in it, or without some."""
    with safe_open(good, "pt") as file:
        metadata = file.metadata()
    tensors = {**load_file(good), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, good.with_name("bad"), metadata)
    return good.with_name("bad")


def part(name: str, *values: float, dtype: torch.dtype = torch.uint8) -> dict[str, Tensor | None]:
    return {f"0.weight.{name}": torch.tensor(values).to(dtype)}


F32, I16, I64 = torch.float32, torch.int16, torch.int64
SPOILT: dict[str, tuple[dict[str, Tensor | None], list[str]]] = {
    "crow falls": (part("crow", 0, 3, 2, 3), ["0.weight", "crow", " 4 ", " 3,"]),
    "crow begins later": (part("crow", 1, 2, 2, 3), ["0.weight", "crow"]),
    "crow ends late": (part("crow", 0, 2, 2, 4), ["0.weight", "crow"]),
    "crow negative": (part("crow", 0, -2, 2, 3, dtype=I16), ["0.weight", "crow"]),
    "crow huge": (part("crow", 0, 2**62, 2**62, 3, dtype=I64), ["0.weight", "crow"]),
    "crow short": (part("crow", 0, 2, 3), ["0.weight", "crow"]),
    "crow empty": (part("crow"), ["0.weight", "crow"]),
    "crow of floats": (part("crow", 0, 2, 2, 3, dtype=F32), ["0.weight", "crow", "torch.float32 (4,)"]),
    "crow of NaN": (part("crow", 0, NAN, 2, 3, dtype=F32), ["0.weight", "crow", "torch.float32 (4,)"]),
    "crow of two dimensions": ({"0.weight.crow": torch.zeros(2, 2, dtype=torch.uint8)}, ["crow", "torch.uint8 (2, 2)"]),
    "col too large": (part("col", 1, 20, 0), ["0.weight", "col", " 3 ", " 19"]),
    "col negative": (part("col", 1, -1, 0, dtype=I16), ["0.weight", "col", " 19"]),
    "col huge": (part("col", 1, 2**62, 0, dtype=I64), ["0.weight", "col", " 19"]),
    "col twice": (part("col", 1, 1, 0), ["0.weight", "col"]),
    "col falls": (part("col", 3, 1, 0), ["0.weight", "col"]),
    "col short": (part("col", 1, 3), ["0.weight", "col", " 3 "]),
    "col empty": (part("col"), ["0.weight", "col", " 3 "]),
    "col of NaN": (part("col", 1, NAN, 0, dtype=F32), ["0.weight", "col", "torch.float32 (3,)"]),
    "col of truths": (part("col", 1, 0, 0, dtype=torch.bool), ["0.weight", "col", "torch.bool (3,)"]),
    "col of uint16": (part("col", 1, 3, 0, dtype=torch.uint16), ["0.weight", "col", "torch.uint16 (3,)"]),
    "no col": ({"0.weight.col": None}, ["'0.weight.col'"]),
    "no values": ({"0.weight.values": None}, ["'0.weight.values'"]),
    "no crow": ({"0.weight.crow": None}, ["0.weight", "(3, 20)"]),
    "values short": (part("values", 1, 2, dtype=F32), ["0.weight", "crow", " 4 ", " 2,"]),
    "values of NaN": (part("values", 1, NAN, 3, dtype=F32), ["0.weight", "NaN"]),
    "values of integers": (part("values", 1, 2, 3, dtype=I64), ["0.weight", "values", "torch.int64 (3,)"]),
    "values of one dimension more": ({"0.weight.values": torch.ones(3, 1)}, ["values", "torch.float32 (3, 1)"]),
    "other values": (part("values", 1, 2, 4, dtype=F32), []),
    "dense as well": ({"0.weight": torch.zeros(3, 20)}, ["0.weight.crow", "uint8 (4,)"]),
    "rows of a bias": ({"0.bias": None, "0.bias.crow": torch.zeros(4, dtype=torch.uint8)}, ["0.bias.crow", "uint8 (4,)"]),
    "rows of nothing": ({"7.weight.crow": torch.zeros(4, dtype=torch.uint8)}, ["7.weight.crow", "uint8 (4,)"]),
    "code too large": (part("values", 0, 1, 2) | part("codebook", 1, 2, dtype=F32), ["0.weight", "values", "uint8", " 2,"]),
    "empty codebook": (part("values", 0, 0, 0) | part("codebook", dtype=F32), ["0.weight", "values", "uint8", " 0,"]),
    "codes of floats": (part("values", 0, 1, NAN, dtype=F32) | part("codebook", 1, 2, dtype=F32), ["values", "uint8"]),
    "codes negative": (part("values", 0, -1, 1, dtype=torch.int8) | part("codebook", 1, 2, dtype=F32), ["values", "uint8"]),
    "codebook of NaN": (part("values", 0, 1, 0) | part("codebook", NAN, 2, dtype=F32), ["0.weight", "NaN"]),
    "codebook of integers": (part("values", 0, 1, 0) | part("codebook", 1, 2), ["codebook", "torch.uint8 (2,)"]),
    "codebook of a matrix": (
        part("values", 0, 1, 0) | {"0.weight.codebook": torch.ones(2, 2)},
        ["codebook", "torch.float32 (2, 2)"],
    ),
    "8 bits": (part("values", 1, 2, 3, dtype=torch.float8_e4m3fn), ["0.weight.values", "torch.float8_e4m3fn (3,)"]),
    "complex": (part("values", 1, 2, 3, dtype=torch.complex64), ["0.weight", "values", "torch.complex64 (3,)"]),
    "unsigned": (part("values", 1, 2, 3, dtype=torch.uint32), ["0.weight", "values", "torch.uint32 (3,)"]),
}
"""Changed tensors, and names and numbers that the error must mention."""


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_parts(tmp_path: Path, sparse: Path, name: str) -> None:
    changes, mentioned = SPOILT[name]
    bad = spoil(sparse, changes)
    before = contents(tmp_path)
    refused("evaluate", bad, quoted=[str(bad), *mentioned])
    refused("export", bad, "--format=sparse", quoted=[str(bad), *mentioned])
    assert contents(tmp_path) == before
    with refuses(ANYTHING, ANYTHING, bad):
        load_pruned(bad, nn.Sequential(nn.Linear(20, 3)))


def test_the_good_one_is_good(sparse: Path) -> None:
    weight = load_pruned(spoil(sparse, {}))[0].weight
    assert (weight.count_nonzero(), weight[0, 1], weight[0, 3], weight[2, 0]) == (3, 1, 2, 3)


BILLION = 10**9


@pytest.mark.parametrize(("inputs", "outputs"), [(BILLION, 3), (BILLION, BILLION), (10**7, 3), (3, BILLION)])
def test_a_giant_shape(tmp_path: Path, inputs: int, outputs: int) -> None:
    """A few hundred bytes that ask for gigabytes: refused before any is taken, unless the network is given."""
    architecture = {"Sequential": {"0": {"Linear": {"in_features": inputs, "out_features": outputs, "bias": False}}}}
    metadata = {"pyro_vd network 1": json.dumps({"architecture": architecture, "info": {}})}
    empty = torch.zeros(0, dtype=torch.uint8)
    parts = {"0.weight.crow": torch.zeros(4, dtype=torch.uint8), "0.weight.col": empty, "0.weight.values": torch.zeros(0)}
    save_file(parts, tmp_path / "net", metadata)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused("evaluate", tmp_path / "net", "--data=digits", quoted=[str(tmp_path / "net"), str(inputs * outputs)])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000, "kilobytes"


def test_a_giant_that_is_given(tmp_path: Path) -> None:
    """Of a network that is really so sparse, the file can be read into one."""
    net = nn.Sequential(nn.Linear(20_000, 1000, bias=False))
    nn.init.zeros_(net[0].weight)
    save_pruned(net, tmp_path / "net", layout="sparse")
    assert (tmp_path / "net").stat().st_size < 2000
    with refuses("net", None, tmp_path / "net", 20_000_000):
        load_pruned(tmp_path / "net")
    assert not load_pruned(tmp_path / "net", nn.Sequential(nn.Linear(20_000, 1000, bias=False)))[0].weight.any()


@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize("index", [[0, 20], [-1, 3], [2**40, 0]])
def test_an_input_that_is_not_there(tmp_path: Path, index: list[int], layout: Any) -> None:
    net = nn.Sequential(SelectInputs(20, 2), nn.Linear(2, 3))
    save_pruned(net, tmp_path / "good", {"data": "digits"}, layout=layout)
    bad = spoil(tmp_path / "good", {"0.index": torch.tensor(index)})
    refused("evaluate", bad, quoted=[str(bad), "0.index", "20"])
    given = nn.Sequential(SelectInputs(20, 2), nn.Linear(2, 3))
    with refuses(str(bad), index, "0.index", 20):
        load_pruned(bad, given)
    assert given[0].index.tolist() == [0, 1], "left as it was"


def test_inputs_that_are_no_number(tmp_path: Path) -> None:
    architecture = {"SelectInputs": {"in_features": "20", "out_features": 2}}
    metadata = {"pyro_vd network 1": json.dumps({"architecture": architecture, "info": {"data": "digits"}})}
    save_file({"index": torch.arange(2)}, tmp_path / "net", metadata)
    refused("evaluate", tmp_path / "net", quoted=[str(tmp_path / "net"), "index", "'20'"])


@pytest.fixture(params=["dense", "sparse", "quantised"])
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A whole file of each layout."""
    net = nn.Sequential(nn.Linear(40, 12), nn.LeakyReLU(0.3), nn.Linear(12, 3))
    net[0].weight.data[:, 5:] = 0
    net[0].weight.data[:, :5].round_(decimals=1)
    save_pruned(net, tmp_path / "net", {"threshold": 3.0}, layout=request.param)
    return tmp_path / "net"


def test_every_flipped_bit_is_noticed(small: Path) -> None:
    """Or does nothing: what loads is what was saved. Every 31st bit, so every kind of place."""
    good = small.read_bytes()
    wanted = {key: tensor.tolist() for key, tensor in load_pruned(small).state_dict().items()}
    described, refusals = repr(load_pruned(small)), 0
    for bit in range(0, 8 * len(good), 31):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        small.write_bytes(bad)
        try:
            net = load_pruned(small)
        except InputError:
            refusals += 1
            continue
        assert (repr(net), {key: tensor.tolist() for key, tensor in net.state_dict().items()}) == (described, wanted), bit
    assert refusals > 0.9 * 8 * len(good) / 31


def test_every_truncation_is_noticed(small: Path) -> None:
    good = small.read_bytes()
    for length in range(0, len(good), 17):
        small.write_bytes(good[:length])
        with refuses(str(small)):
            load_pruned(small)


def test_a_file_without_a_checksum(small: Path) -> None:
    """Those of the first days have none: what cannot be checked is not loaded."""
    with safe_open(small, "pt") as file:
        described: dict[str, Any] = json.loads(file.metadata()["pyro_vd network 1"])
    assert isinstance(described.pop("crc32"), int)
    save_file(load_file(small), small, {"pyro_vd network 1": json.dumps(described)})
    with refuses(str(small)):
        load_pruned(small)
