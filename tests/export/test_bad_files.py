"""Spoilt and hostile network files, through the command line: refused in one line, and no memory taken."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import contents, refused
from torch import Tensor

BILLION = 10**9
HOSTILE = [
    ({"Sequential": {"0": {"Linear": {"in_features": BILLION, "out_features": BILLION}}}}, f"({BILLION}, {BILLION})"),
    ({"Sequential": {"0": {"Linear": {"in_features": 10**40, "out_features": 1}}}}, "Linear{'in_features': 1000"),
    ({"Linear": {"in_features": -1, "out_features": 1}}, "Linear{'in_features': -1"),
    ({"Linear": {"in_features": "3", "out_features": 1}}, "Linear{'in_features': '3'"),
    ({"Sequential": {"0": {"Linear": {"in_features": 20_000, "out_features": 20_000}}}}, "(20000, 20000)"),
    ({"Linear": {"in_features": 20_000, "out_features": 20_000, "device": "cpu"}}, "'device': 'cpu'"),
    ({"Linear": {"in_features": 1, "out_features": 1, "dtype": 3}}, "'dtype': 3"),
    ({"Linear": {}}, "Linear{}"),
    ({"Linear": [3, 4]}, "'Linear'"),
    ({"Conv2d": {"in_channels": 1, "out_channels": 1, "kernel_size": [BILLION, BILLION]}}, f"{BILLION**2 + 1}"),
    ({"Conv2d": {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "groups": 0}}, "'groups': 0"),
    (
        {
            "Conv2d": {
                "in_channels": 1,
                "out_channels": 1,
                "kernel_size": 3,
                "padding": "same",
                "dilation": 10**4,
                "padding_mode": "replicate",
            }
        },
        "65,536",
    ),
    ({"AdaptiveAvgPool2d": {"output_size": 300}}, "90,000"),
    ({"Dropout": {"p": 7}}, "Dropout{'p': 7}"),
    ({"eval": {}}, "'eval'"),
    ({"Sequential": {"0": {"__import__": {"name": "os"}}}}, "'__import__'"),
    ({"Sequential": {"a.b": {"ReLU": {}}}}, "Sequential{'a.b'"),
    ({"ReLU": {}, "Tanh": {}}, "{'ReLU': {}, 'Tanh': {}}"),
    ([1, 2], "[1, 2]"),
    ("Linear", "'Linear'"),
    ({"Sequential": {}}, "0.weight"),
]


def write(path: Path, described: str) -> None:
    """A file of ours with other metadata in it."""
    save_file({"0.weight": torch.zeros(2, 2), "0.bias": torch.zeros(2)}, path, {"pyro_vd network 1": described})


@pytest.mark.parametrize(("architecture", "mentioned"), HOSTILE, ids=lambda value: value if isinstance(value, str) else "")
def test_hostile_architecture(tmp_path: Path, architecture: Any, mentioned: str) -> None:
    path = tmp_path / "net.safetensors"
    write(path, json.dumps({"architecture": architecture, "info": {}}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused("evaluate", path, "--data=digits", quoted=[str(path), mentioned])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000, "kilobytes"


NESTED = '{"architecture": ' + '{"Sequential": {"0": ' * 500 + '{"ReLU": {}}' + "}}" * 500 + ', "info": {}}'


@pytest.mark.parametrize(
    "described",
    ["{not json", "[1]", "3", '{"info": {}}', '{"architecture": {}, "info": 3}', '{"Sequential": {"0": ' * 100_000, NESTED],
    ids=lambda described: described[:20],
)
def test_hostile_metadata(tmp_path: Path, described: str) -> None:
    write(tmp_path / "net.safetensors", described)
    refused("evaluate", tmp_path / "net.safetensors", quoted=[str(tmp_path)])


def _foreign(good: Path, bad: Path) -> None:
    save_file({"weight": torch.zeros(2)}, bad)


def _bias(changed: Tensor | None) -> Callable[[Path, Path], None]:
    """The good file with another output bias, or none."""

    def spoil(good: Path, bad: Path) -> None:
        with safe_open(good, "pt") as file:
            metadata = file.metadata()
        tensors = {name: changed if name.endswith("3.bias") else tensor for name, tensor in load_file(good).items()}
        save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, bad, metadata)

    return spoil


def _one_more(good: Path, bad: Path) -> None:
    with safe_open(good, "pt") as file:
        save_file({**load_file(good), "extra": torch.zeros(1)}, bad, file.metadata())


SPOILT: dict[str, Callable[[Path, Path], Any]] = {
    "truncated": lambda good, bad: bad.write_bytes(good.read_bytes()[:-50]),
    "header cut": lambda good, bad: bad.write_bytes(good.read_bytes()[:20]),
    "empty": lambda good, bad: bad.write_bytes(b""),
    "garbage": lambda good, bad: bad.write_bytes(b"garbage" * 1000),
    "foreign": _foreign,
    "one tensor more": _one_more,
    "missing tensor": _bias(None),
    "another shape": _bias(torch.zeros(11)),
    "integers": _bias(torch.zeros(10, dtype=torch.int32)),
    "NaN": _bias(torch.full((10,), torch.nan)),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_spoilt_files(tmp_path: Path, finished_run: Path, spoil: str) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    for name in ("pruned.safetensors", "posterior.safetensors"):
        (run / name).unlink()
        SPOILT[spoil](finished_run / name, run / name)
        if name == "pruned.safetensors":
            refused("evaluate", run / name, quoted=[str(run / name)])
        refused("evaluate", run, "--num-samples=1", quoted=[str(run / name)])
        if name == "posterior.safetensors":
            refused("prune", run, "--threshold=1", quoted=[str(run / name)])
        shutil.copy(finished_run / name, run / name)
    assert contents(run) == contents(finished_run)
