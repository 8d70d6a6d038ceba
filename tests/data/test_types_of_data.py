"""Arrays of every type in .npz and idx files, and columns of every type in tables: read right or refused."""

from __future__ import annotations

import datetime
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import refuses, write_mnist, write_npz

from pyro_vd import InputError, load_data
from pyro_vd.data import load_table

WHOLE = ("i1", "i2", "i4", "i8", "u2", "u4", "u8")
NUMBERS = ("?", "u1", *WHOLE, "f2", "f4", "f8", "g")
OTHERS = ("F", "D", "G", "S3", "U3", "M8[D]", "m8[D]", "V4", [("a", "f4"), ("b", "f4")])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_every_type_of_numbers_in_npz(tmp_path: Path, kind: str, order: str) -> None:
    """Each value comes back as it is; bytes are pixels, and other integers stay integers."""
    values = np.random.default_rng(0).integers(0, 2 if kind == "?" else 100, (30, 4))
    x = values.astype(np.dtype(kind).newbyteorder(order))
    write_npz(tmp_path / "a.npz", x_train=x, x_test=x[:9])
    found = load_data(str(tmp_path / "a.npz")).x_train
    assert found.dtype == (torch.int64 if kind in WHOLE else torch.float32)
    assert torch.equal(torch.round(found * 255) if kind == "u1" else found, torch.from_numpy(values).to(found.dtype))


@pytest.mark.parametrize("kind", OTHERS, ids=str)
@pytest.mark.parametrize("key", ["x", "y"])
def test_every_other_type_in_npz(tmp_path: Path, kind: Any, key: str) -> None:
    shape = (30, 4) if key == "x" else (30,)
    array = np.zeros(shape, kind)
    write_npz(tmp_path / "a.npz", **{f"{key}_train": array, f"{key}_test": array[:9]})
    with pytest.raises(InputError):
        load_data(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
def test_integers_beyond_those_of_torch(tmp_path: Path, key: str) -> None:
    part, rows = key[1:], 30 if key.endswith("train") else 9
    arrays = {f"x{part}": np.zeros((rows, 4), np.uint64), f"y{part}": (np.arange(rows) % 3).astype(np.uint64)}
    other = "_test" if part == "_train" else "_train"
    arrays[f"x{other}"] = np.zeros((39 - rows, 4), np.uint64)
    arrays[key].flat[5] = 2**63 + 5
    write_npz(tmp_path / "a.npz", **arrays)
    with refuses(value=2**63 + 5):
        load_data(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("kind", ["f8", "g"])
def test_numbers_that_float32_would_merge(tmp_path: Path, kind: str) -> None:
    x = np.random.default_rng(0).random((30, 4)).astype(kind)
    for spoilt in (1.7e9 + np.arange(30) / 1000, 1 + np.arange(30) * 1e-12):
        x[:, 2] = spoilt
        write_npz(tmp_path / "a.npz", x_train=x)
        with refuses(value=pytest.approx(float(spoilt[0]))) as caught:
            load_data(str(tmp_path / "a.npz"))
        assert "number 3 of each example" in str(caught.value)
    for kept in (1.7e9 + np.arange(30) * 1e9, np.full(30, 0.1), np.arange(30) * 1e-30):
        x[:, 2] = kept
        write_npz(tmp_path / "a.npz", x_train=x)
        assert torch.equal(load_data(str(tmp_path / "a.npz")).x_train, torch.from_numpy(x.astype(np.float32)))


@pytest.mark.parametrize("code", range(16))
def test_every_type_of_idx(tmp_path: Path, code: int) -> None:
    """Unsigned bytes alone are what the data sets in this format hold."""
    itemsize = {0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}.get(code, 1)
    content = struct.pack(">HBBIII", 0, code, 3, 40, 28, 28) + bytes(40 * 28 * 28 * itemsize)
    write_mnist(tmp_path, train_images_idx3_ubyte=content)
    if code == 8:
        assert load_data("mnist", tmp_path).x_train.shape == (40, 28, 28)
    else:
        with refuses(str(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte")):
            load_data("mnist", tmp_path)


ROWS = np.arange(40)
NUMERIC: dict[str, Any] = {
    **{kind: ROWS.astype(kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    **{kind: ROWS.astype(kind) / 2 for kind in ("float16", "float32", "float64")},
    "Int64": pd.array(ROWS, dtype="Int64"),
    "Float32": pd.array(ROWS / 2, dtype="Float32"),
    "decimal": [Decimal(int(row)) / 2 for row in ROWS],
    "large, apart": 2**63 + ROWS.astype(np.uint64) * 2**40,
}
LOGICAL: dict[str, Any] = {"bool": ROWS % 2 == 0, "boolean": pd.array(ROWS % 2 == 0, dtype="boolean")}
TEXT: dict[str, Any] = {
    "string": pd.array([f"s{row % 5}" for row in ROWS], dtype="string"),
    "object": pd.Series([f"s{row % 5}" for row in ROWS], dtype=object),
    "category": pd.Categorical([f"s{row % 5}" for row in ROWS]),
    "digits": [f"0{row % 5}" for row in ROWS],
}
REFUSED: dict[str, Any] = {
    "datetime": pd.date_range("2020", periods=40),
    "datetime with a zone": pd.date_range("2020", periods=40, tz="UTC"),
    "timedelta": pd.to_timedelta(ROWS, unit="D"),
    "period": pd.period_range("2020", periods=40, freq="D"),
    "interval": pd.interval_range(0, 40),
    "date": [datetime.date(2020, 1, 1 + row % 28) for row in ROWS],
    "time": [datetime.time(row % 24) for row in ROWS],
    "bytes": [b"x%d" % (row % 5) for row in ROWS],
    "list": [[row] for row in ROWS],
    "dict": [{"a": row} for row in ROWS],
    "integers that float64 merges": 2**53 + ROWS,
    "decimals that float64 merges": [Decimal(2**70) + int(row) for row in ROWS],
    "numbers that float32 merges": 1.7e9 + ROWS / 1000,
    "missing": np.where(ROWS == 7, np.nan, ROWS),
    "missing integers": pd.array([None, *ROWS[1:]], dtype="Int64"),
    "missing truth values": pd.array([None, *(ROWS[1:] % 2 == 0)], dtype="boolean"),
    "missing texts": [None, *(f"s{row % 5}" for row in ROWS[1:])],
}


def table(path: Path, column: Any) -> Path:
    pd.DataFrame({"c": column, "other": ROWS * 0.7}).to_parquet(path)
    return path


def read_in_order(path: Path) -> torch.Tensor:
    """The features of a table of all of its rows, in the order of the file."""
    data = load_table(path, "other")
    rows = torch.cat([data.y_train, data.y_test]).argsort()
    return torch.cat([data.x_train, data.x_test])[rows]


@pytest.mark.parametrize("name", [*NUMERIC, *LOGICAL])
def test_columns_of_numbers(tmp_path: Path, name: str) -> None:
    column = {**NUMERIC, **LOGICAL}[name]
    found = read_in_order(table(tmp_path / "a.parquet", column))
    assert torch.equal(found[:, 0], torch.tensor([float(value) for value in column], dtype=torch.float32))


@pytest.mark.parametrize("name", TEXT)
def test_columns_of_text(tmp_path: Path, name: str) -> None:
    found = read_in_order(table(tmp_path / "a.parquet", TEXT[name]))
    assert torch.equal(found, torch.eye(5)[ROWS % 5])


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("target", ["c", "other"])
def test_columns_that_are_refused(tmp_path: Path, name: str, target: str) -> None:
    with refuses("c"):
        load_table(table(tmp_path / "a.parquet", REFUSED[name]), target)


def test_classes_that_float64_would_merge(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", np.repeat([0, 2**53, 2**53 + 1, 5], 10))
    with refuses("c", 2**53, "text"):
        load_table(path, "c")
    assert load_table(table(path, np.repeat([0, 2**53 - 1, 2**53 - 2, -5], 10)), "c").classes == (
        "-5",
        "0",
        "9007199254740990",
        "9007199254740991",
    )
