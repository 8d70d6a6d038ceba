"""Small files that would take gigabytes or hours to read are refused, and a changed netCDF file is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support import ANYTHING, refuses
from torch import nn

from pyro_vd import load_pruned, save_pruned
from pyro_vd._core import trial
from pyro_vd.posterior import read_inference_data
from pyro_vd.posterior.arviz_files import write_inference_data

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
    monkeypatch.setattr(trial, "_SECONDS", 1)
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
