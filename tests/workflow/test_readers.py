"""What is read is what was written, or it is refused: one flipped bit, one wrong leaf, a bomb, a program that never ends."""

from __future__ import annotations

import io
import json
import math
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support import ANYTHING, python, refused, refuses, write_npz
from torch import Tensor, nn

from pyro_vd import VariationalDropout, fit, load_pruned, save_pruned
from pyro_vd._core.array_files import read_arrays
from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import plain_json
from pyro_vd._core.schema import check_tree
from pyro_vd._core.storage import load_checkpoint, save_checkpoint
from pyro_vd.data.files import load_npz
from pyro_vd.data.idx_files import read_idx
from pyro_vd.export.torch_file import load_torch_export, save_torch_export
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.ready import mlp
from pyro_vd.posterior import arviz_files, read_inference_data
from pyro_vd.posterior.arviz_files import write_inference_data
from pyro_vd.training.optimizer_state import check_optimizer_state
from pyro_vd.workflow.posterior_file import load_posterior, save_posterior

DATA = torch.rand(12, 4), torch.arange(12) % 2


def pair(seed: int) -> tuple[BayesianNetwork, VariationalDropout]:
    torch.manual_seed(seed)
    model = BayesianNetwork(mlp((4, 3, 2)))
    return model, VariationalDropout(model)


def state_of(*modules: nn.Module) -> list[Any]:
    return [tensor.tolist() for module in modules for tensor in module.state_dict().values()]


def write_checkpoint(path: Path) -> None:
    fit(pair(1)[1], DATA, epochs=2, checkpoint=path, progress=False)


def resumed(path: Path) -> list[Any]:
    modules = pair(2)
    fit(modules[1], DATA, epochs=2, checkpoint=path, resume=True, progress=False)
    return state_of(*modules)


def loaded(path: Path) -> list[Any]:
    modules = pair(2)
    load_posterior(path, modules[1])
    return state_of(*modules)


def exported(path: Path) -> list[Any]:
    return load_torch_export(path)(DATA[0]).tolist()


KINDS: dict[str, tuple[Callable[[Path], object], Callable[[Path], list[Any]], int]] = {
    "posterior": (lambda path: save_posterior(path.parent, pair(1)[1]), loaded, 7),
    "checkpoint": (write_checkpoint, resumed, 331),
    "torch-export": (lambda path: save_torch_export(mlp((4, 3, 2)), path, DATA[0]), exported, 331),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_every_flipped_bit_is_noticed(tmp_path: Path, kind: str) -> None:
    """Or does nothing."""
    write, read, every = KINDS[kind]
    write(path := tmp_path / "posterior.safetensors")
    good, wanted, refusals = path.read_bytes(), read(path), 0
    bits = range(0, 8 * len(good), every)
    for bit in bits:
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        try:
            assert read(path) == wanted, bit
        except InputError:
            refusals += 1
    assert refusals > 0.9 * len(bits)
    path.write_bytes(good)
    assert read(path) == wanted


LEAVES = """
import sys
import torch
from support import EachStep
from test_readers import DATA, pair
from pyro_vd import InputError, fit
from pyro_vd._core.storage import load_checkpoint, save_checkpoint

def places(tree, path=()):
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield (*path, key)
        if isinstance(tree[key], (dict, list)):
            yield from places(tree[key], (*path, key))

def wrong(value):
    yield from (None, "x", torch.zeros(1))
    if isinstance(value, (dict, list)):
        yield from (-7, {}, [[1]])
    if isinstance(value, torch.Tensor):
        yield from (value.double(), value.to(torch.int64), value.flatten()[:1])
        yield from (value.unsqueeze(0), value.expand(2, *value.shape))
        if value.is_floating_point():
            yield from (torch.full_like(value, x) for x in (torch.nan, torch.inf))
            yield value.to_sparse()

folder, tried, taken = sys.argv[1], 0, []
keep = []
def stop(state):
    if state.epoch == 1 and not keep:
        keep.append(load_checkpoint(path))
from pathlib import Path
path = Path(folder) / "c.pt"
options = {"epochs": 2, "batch_size": 12, "progress": False}
fit(pair(1)[1], DATA, checkpoint=path, callbacks=[EachStep(stop)], **options)
for place in places(keep[0]):
    if place[0] in ("format", "settings") and len(place) > 1:
        continue  # compared as a whole
    leaf = keep[0]
    for key in place:
        leaf = leaf[key]
    for value in [*(value for value in wrong(leaf) if value is not leaf), "gone"]:
        save_checkpoint(path, keep[0])
        tree = state = load_checkpoint(path)
        for key in place[:-1]:
            tree = tree[key]
        if isinstance(value, str) and value == "gone":
            del tree[place[-1]]
        else:
            tree[place[-1]] = value
        save_checkpoint(path, {key: value for key, value in state.items() if key != "format"})
        model, guide = pair(2)
        before = {name: tensor.clone() for name, tensor in guide.state_dict().items()}
        tried += 1
        try:
            fit(guide, DATA, checkpoint=path, resume=True, **options)
            taken.append(".".join(map(str, place)))
        except InputError as error:
            assert "c.pt" in str(error), error
            assert all(torch.equal(before[name], tensor) for name, tensor in guide.state_dict().items()), "loaded in part"
print(tried, *sorted(set(taken)))
"""


@pytest.mark.slow
def test_every_wrong_leaf_of_a_checkpoint(tmp_path: Path) -> None:
    """In a process of its own, with right digests: fused kernels write beyond moments that are too small."""
    done = python(LEAVES, tmp_path, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr[-2000:]
    tried, *taken = done.stdout.split()
    assert int(tried) > 200
    # Another right value is none that a check can know: a state that is not there, a count, a time.
    may_differ = ("format", "settings", "cuda_rng", "history.0", "optimizer.state", "optimizer.param_groups.0.lr")
    assert not [place for place in taken if not place.startswith(may_differ)]


@pytest.mark.parametrize(
    "make",
    [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.SGD],
)
def test_the_state_of_every_optimizer(make: Any) -> None:
    net = nn.Linear(3, 2)
    optimizer = make(net.parameters(), lr=0.1, **({"momentum": 0.9} if make is torch.optim.SGD else {}))
    check_optimizer_state("file", optimizer.state_dict(), optimizer)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    check_optimizer_state("file", optimizer.state_dict(), optimizer)
    for key, value in optimizer.state_dict()["state"][0].items():
        for wrong in (torch.zeros(1, 1), torch.full_like(value, torch.nan), value.double(), -value - 1, 3, None):
            state = optimizer.state_dict()
            state["state"] = {0: {**state["state"][0], key: wrong}}
            if wrong is not None and isinstance(wrong, Tensor) and (wrong < 0).all() and not ("sq" in key or key == "step"):
                continue  # may be negative
            with refuses(f"file: optimizer.state.0.{key}"):
                check_optimizer_state("file", state, optimizer)
    for key in optimizer.state_dict()["param_groups"][0]:
        state = optimizer.state_dict()
        del state["param_groups"][0][key]
        with refuses("file: optimizer.param_groups.0", state["param_groups"][0], key):
            check_optimizer_state("file", state, optimizer)


INFOS: list[Any] = [
    (1, 2),
    {"a": (1, 2)},
    {"a": math.nan},
    {"a": math.inf},
    {1: "a"},
    {None: 1},
    {"a": {1}},
    {"a": b"x"},
    [1],
    "x",
]
CYCLE: dict[str, Any] = {}
CYCLE["a"] = CYCLE
DEEP: Any = {}
for _ in range(2000):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize("info", [*INFOS, {"a": "\ud800"}, {"a": 10**5000}, CYCLE, DEEP], ids=lambda info: "")
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, info: Any) -> None:
    with refuses("info", info):
        save_pruned(nn.Linear(2, 2), tmp_path / "net", info)
    assert not list(tmp_path.iterdir())


def test_what_would_be_too_large_to_be_read_again_is_not_written(tmp_path: Path) -> None:
    with refuses(ANYTHING, ANYTHING, f"{2**20:,}"):
        save_pruned(nn.Linear(2, 2), tmp_path / "net", {"a": "x" * 2_000_000})
    assert not list(tmp_path.iterdir())


def test_networks_that_could_not_be_read_again_are_not_written(tmp_path: Path) -> None:
    nan, float8 = nn.Linear(2, 2), nn.Linear(2, 2)
    nan.weight.data[0, 1] = torch.nan
    float8.register_buffer("small", torch.zeros(3).to(torch.float8_e4m3fn))
    pool = nn.AdaptiveAvgPool2d(20_000)
    refused: list[tuple[nn.Module, object, object, str]] = [
        (nan, "net", ["weight"], "weight"),
        (float8, ANYTHING, ANYTHING, "float8"),
        (pool, "net", 400_000_000, "400,000,000"),
    ]
    for net, name, value, mentioned in refused:
        with refuses(name, value, mentioned):
            save_pruned(net, tmp_path / "net")
    assert not list(tmp_path.iterdir())


BLOWING: list[dict[str, dict[str, Any]]] = [
    {"AdaptiveAvgPool2d": {"output_size": 20_000}},
    {"AdaptiveAvgPool2d": {"output_size": [1, 10**9]}},
    {"AdaptiveAvgPool2d": {"output_size": "x"}},
    {"Conv2d": {"in_channels": 1, "out_channels": 1, "kernel_size": 1, "padding": 20_000, "bias": False}},
    {"ConvTranspose2d": {"in_channels": 1, "out_channels": 1, "kernel_size": 1, "stride": 20_000, "bias": False}},
    {"ConvTranspose2d": {"in_channels": 1, "out_channels": 1, "kernel_size": 2, "dilation": 400_000, "bias": False}},
]


@pytest.mark.parametrize("layer", BLOWING, ids=str)
def test_a_small_file_that_would_take_gigabytes(tmp_path: Path, layer: dict[str, dict[str, Any]]) -> None:
    ((name, arguments),) = layer.items()
    metadata = {"pyro_vd network 1": json.dumps({"architecture": {"Sequential": {"0": layer}}, "info": {}})}
    kernel = arguments.get("kernel_size", 1)
    save_file({} if "Adaptive" in name else {"0.weight": torch.zeros(1, 1, kernel, kernel)}, tmp_path / "net", metadata)
    with refuses(str(tmp_path / "net")):
        load_pruned(tmp_path / "net")


def test_usual_layers_are_not_taken_for_bombs(tmp_path: Path) -> None:
    decoder = [nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1) for _ in range(7)]
    encoder = [nn.Conv2d(2, 2, 3, padding=1) for _ in range(60)]
    save_pruned(nn.Sequential(*encoder, nn.AdaptiveAvgPool2d(7), *decoder), tmp_path / "net")
    assert len(load_pruned(tmp_path / "net")) == 68


def npz(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", content)


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


PLAIN = "{'descr': '<f8', 'fortran_order': False, 'shape': %s}"
ARRAYS = {
    "no array": b"text",
    "a giant": header(PLAIN % "(1000000000000,)"),
    "negative": header(PLAIN % "(-1,)") + bytes(8),
    "short": header(PLAIN % "(3,)") + bytes(16),
    "long": header(PLAIN % "(1,)") + bytes(16),
    "objects": header(PLAIN.replace("<f8", "|O") % "(1,)") + bytes(8),
    "fields": header(PLAIN.replace("'<f8'", "[('a', '<f8')]") % "(1,)") + bytes(8),
    "brackets": header("(" * 1900),
    "minus signs": header("-" * 1900 + "1"),
    "long header": header(" " * 60_000),
    "a bomb": header(PLAIN % "(100000000,)") + bytes(8 * 10**8 // 2),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_none(tmp_path: Path, case: str) -> None:
    npz(path := tmp_path / "a.npz", ARRAYS[case])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refuses(str(path)):
        read_arrays(path, "an .npz file")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000, "kilobytes"


def test_encrypted_and_foreign_members(tmp_path: Path) -> None:
    write_npz(path := tmp_path / "a.npz")
    good = path.read_bytes()
    for first, flag in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        good = good.replace(first, first + b"x", 1).replace(first + b"x", first, 1)
        place = good.find(first) + flag
        good = good[:place] + bytes([good[place] | 1]) + good[place + 1 :]
    path.write_bytes(good)
    with refuses(str(path), ANYTHING, "x_train.npy"):
        load_npz(path)
    refused("train", "digits", f"--data.name={path}", "--out", tmp_path / "out", quoted=["a.npz", "x_train.npy"])


def test_arrays_of_every_kind_come_back(tmp_path: Path) -> None:
    """Other members that are no arrays of numbers are no harm where they are not asked for."""
    x = np.arange(24.0).reshape(2, 3, 4)
    arrays = {
        "c": x,
        "f": np.asfortranarray(x),
        "big": x.astype(">f4"),
        "text": np.asarray("ä"),
        "scalar": np.asarray(3),
        "none": x[:0],
    }
    np.savez(path := tmp_path / "a.npz", objects=np.asarray([{}], object), **arrays)  # type: ignore[arg-type]
    found = read_arrays(path, "an .npz file", arrays.keys())
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array)


def test_hdf5_that_takes_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(change: Callable[[h5py.File], object]) -> Path:
        write_inference_data_of(path := tmp_path / "a.nc")
        with h5py.File(path, "a") as file:
            change(file)
        return path

    other = tmp_path / "other.nc"
    write_inference_data_of(other)
    cases: list[tuple[Callable[[h5py.File], object], str]] = [
        (lambda file: file.create_dataset("x", shape=(10**12,), dtype="f8", chunks=(1000,)), ""),
        (lambda file: file.__setitem__("x", h5py.ExternalLink(str(other), "/")), "'x'"),
        (lambda file: file.__setitem__("x", h5py.SoftLink("/posterior")), "'x'"),
        (lambda file: file["posterior"].__setitem__("x", file), ""),
        (lambda file: file.create_dataset("x", (3,), "f8", external=[(str(other), 0, 24)]), "'/x'"),
    ]
    for change, mentioned in cases:
        with refuses(str(tmp_path / "a.nc"), ANYTHING, mentioned):
            read_inference_data(spoil(change))
    write_inference_data_of(tmp_path / "a.nc")
    read_inference_data(tmp_path / "a.nc")
    monkeypatch.setattr(arviz_files, "_SECONDS", 1)
    with refuses(str(tmp_path / "a.nc")):
        read_inference_data(spoil(many_paths))


def many_paths(file: h5py.File) -> None:
    """Twelve groups that each hold the next six times: two billion ways to the last."""
    group = file["posterior"]
    for _ in range(12):
        group = group.create_group("0")
    for _ in range(12):
        below, group = group, group.parent
        for number in range(1, 6):
            group[str(number)] = below


def write_inference_data_of(path: Path) -> None:
    import xarray as xr

    write_inference_data(xr.DataTree.from_dict({"posterior": xr.Dataset({"w": (("chain", "draw"), np.zeros((1, 3)))})}), path)


def test_a_changed_netcdf_file_is_noticed(tmp_path: Path) -> None:
    write_inference_data_of(path := tmp_path / "a.nc")
    good = path.read_bytes()
    for place in range(0, len(good) - 100, len(good) // 20):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        with refuses(str(path)):
            read_inference_data(path)


@pytest.mark.parametrize("kind", [0x00, 0x09, 0x0B, 0x0D, 0x0E, 0xFF])
def test_idx_of_another_type(tmp_path: Path, kind: int) -> None:
    (path := tmp_path / "t").write_bytes(bytes([0, 0, kind, 1, 0, 0, 0, 2, 1, 2]))
    with refuses(str(path), ANYTHING, " 1 "):
        read_idx(path, 1)


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "1e999", '{"a": 1, "a": 2}', "[" * 100 + "]" * 100, '"\\ud800"', "1" * 5000, "", "{} {}"]
)
def test_what_is_no_plain_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain_json(text)


def test_a_seal_is_no_proof_of_sense(tmp_path: Path) -> None:
    """A checkpoint with a right digest may hold more than its file: refused before memory is taken."""
    save_checkpoint(path := tmp_path / "c.pt", {"x": torch.zeros(3)})
    from pyro_vd._core.sealed import seal_zip

    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member) + bytes(10**8))
    path.write_bytes(seal_zip(buffer.getvalue()))
    with refuses(str(path)):
        load_checkpoint(path)


def test_a_schema_names_the_key() -> None:
    hint = dict[str, list[float | None]]
    check_tree("file", {"a": [1, 2.5, None]}, hint)
    cases: list[tuple[Any, str, object, str]] = [
        ({"a": [True]}, "a.0", True, "file: a.0 (=True)"),
        ({"a": 3}, "a", 3, "file: a (=3)"),
        ({3: []}, "3", 3, "file: 3 (=3)"),
        ({"a": [10**400]}, "a.0", 10**400, "file: a.0 (=1000"),
        ([], "", [], "file: "),
    ]
    for tree, name, value, mentioned in cases:
        with refuses(name, value, mentioned):
            check_tree("file", tree, hint)
