"""Tables become features and observations: every type of column is read right, the split is fixed, new rows are read alike."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import refuses

from pyro_vd import load_data
from pyro_vd.data import load_table, read_table
from pyro_vd.data.table_columns import feature_names, features_in

N = 40


def frame(**columns: Any) -> pd.DataFrame:
    """A table of 40 rows: two numbers, a truth value, a city, and a price; ``columns`` are added, or replace these."""
    rng = np.random.default_rng(0)
    own = {
        "size": rng.normal(50, 10, N),
        "rooms": rng.integers(1, 6, N),
        "lift": rng.random(N) < 0.5,
        "city": rng.choice(["Paris", "Lyon", "Nice"], N),
        "price": rng.normal(3e5, 1e5, N),
    }
    return pd.DataFrame(own | columns)


def written(path: Path, table: pd.DataFrame) -> Path:
    """The table in a file of this name."""
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return path


FEATURES = ("size", "rooms", "lift", "city=Lyon", "city=Nice", "city=Paris")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_features_are_named_and_hold_what_the_table_holds(tmp_path: Path, suffix: str) -> None:
    table = frame()
    data = load_table(written(tmp_path / f"flats{suffix}", table), "price")
    assert data.features == FEATURES
    assert data.classes is None
    x, y = torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
    assert (len(data.y_train), len(data.y_test)) == (32, 8)
    order = y.argsort()
    wanted = table.sort_values("price")
    columns = [wanted["size"], wanted["rooms"], wanted["lift"], *(wanted["city"] == name for name in ("Lyon", "Nice", "Paris"))]
    assert torch.equal(x[order], torch.tensor(np.stack(columns, 1).astype(np.float32)))
    assert np.array_equal(y[order].numpy(), wanted["price"])


def test_the_split_is_fixed_and_each_class_is_in_both_parts_alike(tmp_path: Path) -> None:
    sold = np.repeat(["no", "yes", "once"], [28, 11, 1])
    path = written(tmp_path / "flats.csv", frame(sold=sold))
    torch.manual_seed(1)
    first = load_table(path, "sold")
    torch.manual_seed(2)
    assert torch.equal(first.x_train, load_table(path, "sold").x_train), "whatever the seed of the run is"
    assert first.classes == ("no", "once", "yes")
    assert first.y_train.bincount().tolist() == [22, 1, 9]
    assert first.y_test.bincount(minlength=3).tolist() == [6, 0, 2], "about a fifth of each, and never the only one"
    assert len(load_table(path, "sold", test=5).y_test) == 5
    assert len(load_table(path, "sold", test=0.5).y_test) == 20
    for test in (0, 40, 0.999, -1):
        with refuses("test", test):
            load_table(path, "price", test=test)


def test_a_folder_has_its_own_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = frame(kind=[f"k{number % 3}" for number in range(N)])
    table.loc[39, "city"] = "Lille"
    written(tmp_path / "train.csv", table[:30])
    written(tmp_path / "test.parquet", table[30:])
    data = load_data(str(tmp_path), target="kind", drop=["price"])
    assert data.features == FEATURES
    assert data.classes == ("k0", "k1", "k2")
    assert (len(data.y_train), len(data.y_test)) == (30, 10)
    assert not data.x_test[9, 3:].any(), "a city that the training part lacks"
    assert "'Lille'" in caplog.text
    with refuses("test", 0.2):
        load_table(tmp_path, "kind", test=0.2)
    table.loc[39, "kind"] = "k9"
    written(tmp_path / "test.parquet", table[30:])
    with refuses("kind", "k9", "k0, k1, k2", "test.parquet"):
        load_table(tmp_path, "kind")
    (tmp_path / "test.parquet").unlink()
    with refuses(str(tmp_path), 0, "test.csv"):
        load_table(tmp_path, "kind")


def test_new_rows_are_read_as_the_network_was_trained(tmp_path: Path) -> None:
    """With columns in another order, further ones, and fewer categories."""
    data = load_table(written(tmp_path / "a.csv", frame(sold=np.arange(N) % 2 == 0)), "sold")
    assert (data.features, data.classes) == ((*FEATURES, "price"), ("False", "True"))
    new = frame(sold=np.arange(N) % 2 == 0)[["city", "sold", "price", "lift", "rooms", "size"]].assign(more=1)[:3]
    x, y = read_table(written(tmp_path / "b.csv", new), data.features, "sold", data.classes)
    assert y is not None
    assert y.tolist() == [1, 0, 1]
    assert torch.equal(x[:, 0], torch.tensor(new["size"].to_numpy(np.float32)))
    assert x[:, 3:6].sum(1).tolist() == [1, 1, 1]
    assert read_table(tmp_path / "b.csv", data.features)[1] is None
    with refuses("column", "size", "rooms"):
        read_table(written(tmp_path / "c.csv", new.drop(columns="size")), data.features)
    with refuses("rooms", "two"):
        read_table(written(tmp_path / "c.csv", new.assign(rooms="two")), data.features)


TEXTS = ["a", "b"] * (N // 2)
NUMBERS = list(range(N))
NUMERIC = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
NULLABLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64")
READ: dict[str, tuple[Any, tuple[str, ...], list[float]]] = {
    **{kind: (pd.Series(NUMBERS, dtype=kind), ("c",), NUMBERS) for kind in (*NUMERIC, *NULLABLE)},
    "int64[pyarrow]": (pd.Series(NUMBERS, dtype="int64[pyarrow]"), ("c",), NUMBERS),
    "object of integers": (pd.Series(NUMBERS, dtype=object), ("c",), NUMBERS),
    "decimal": (pd.Series([Decimal(n) for n in NUMBERS]), ("c",), NUMBERS),
    **{kind: (pd.Series([0, 1] * (N // 2)).astype(kind), ("c",), [0, 1] * (N // 2)) for kind in ("bool", "boolean")},
    **{
        kind: (pd.Series(TEXTS).astype(kind), ("c=a", "c=b"), [1, 0] * (N // 2))
        for kind in ("object", "string", "category", "string[pyarrow]")
    },
    "category of integers": (pd.Series([3, 5] * (N // 2)).astype("category"), ("c=3", "c=5"), [1, 0] * (N // 2)),
    "category of truths": (pd.Series([True, False] * (N // 2)).astype("category"), ("c=False", "c=True"), [0, 1] * (N // 2)),
    "category, unused": (pd.Series(pd.Categorical(TEXTS, ["a", "b", "z"])), ("c=a", "c=b"), [1, 0] * (N // 2)),
}


@pytest.mark.parametrize("kind", READ)
def test_every_type_that_is_read(kind: str) -> None:
    series, names, first = READ[kind]
    table = pd.DataFrame({"c": series})
    assert feature_names("f", table) == names
    assert features_in("f", table, names)[:, 0].tolist() == first


REFUSED: dict[str, Any] = {
    "datetime64": pd.date_range("2020", periods=N),
    "datetime with zone": pd.date_range("2020", periods=N, tz="UTC"),
    "timedelta64": pd.to_timedelta(NUMBERS, unit="s"),
    "period": pd.period_range("2020", periods=N, freq="D"),
    "interval": pd.interval_range(0, N),
    "date": [datetime.date(2020, 1, 1)] * N,
    "time": [datetime.time(1)] * N,
    "complex128": np.full(N, 1j),
    "bytes": [b"x"] * N,
    "list": [[1, 2]] * N,
    "array": [np.zeros(2)] * N,
    "dict": [{"a": 1}] * N,
    "mixed": [1, "a"] * (N // 2),
    "sparse text": pd.Series([("a",)] * N),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_every_other_type_is_refused_with_its_name(tmp_path: Path, kind: str) -> None:
    table = pd.DataFrame({"c": REFUSED[kind]})
    with refuses("c", pd.api.types.infer_dtype(table["c"], skipna=False), "'c'", "f: "):
        feature_names("f", table)


@pytest.mark.parametrize(
    ("values", "as_classes", "classes"),
    [
        (["b", "a"] * 20, None, ("a", "b")),
        ([True, False] * 20, None, ("False", "True")),
        ([3, 1] * 20, None, ("1", "3")),
        (NUMBERS, None, None),
        (NUMBERS[:20] * 2, True, tuple(map(str, NUMBERS[:20]))),
        ([3, 1] * 20, False, None),
        ([True, False] * 20, False, None),
        ([1.0, 2.0] * 20, None, None),
        ([1.0, 2.0] * 20, True, ("1", "2")),
        ([-1, 1] * 20, None, ("-1", "1")),
    ],
)
def test_a_target_is_a_class_or_a_number(tmp_path: Path, values: Any, as_classes: bool | None, classes: Any) -> None:
    data = load_table(written(tmp_path / "a.csv", frame(y=values)), "y", as_classes=as_classes)
    assert data.classes == classes
    y = torch.cat([data.y_train, data.y_test])
    assert y.is_floating_point() == (classes is None)
    if classes is None:
        assert sorted(y.tolist()) == sorted(map(float, values))
    else:
        assert y.bincount().tolist() == [N // len(classes)] * len(classes)


def test_a_target_of_the_wrong_kind(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", frame())
    with refuses("city", frame()["city"][0]):
        load_table(path, "city", as_classes=False)
    with refuses("price", float(frame()["price"].min())):
        load_table(path, "price", as_classes=True)
    names = written(tmp_path / "b.csv", frame(name=[f"n{number}" for number in NUMBERS]))
    with refuses("name", 40):
        load_table(names, "name")


@pytest.mark.parametrize("values", [("01", "1", "x"), ("1.0", "1", "x"), ("True", "true", "x"), ("1e3", "1000", "x")])
def test_text_is_text_whatever_other_rows_hold(tmp_path: Path, values: tuple[str, ...]) -> None:
    """A file of rows that all look like numbers or truth values is read as the one that the network was trained on."""
    frame = pd.DataFrame(
        {"code": [values[k % 3] for k in range(30)], "x": np.arange(30.0), "kind": [f"is {k % 3}" for k in range(30)]}
    )
    frame["y"] = [values[k // 3 % 3] for k in range(30)]
    frame.to_csv(tmp_path / "train.csv", index=False)
    data = load_table(tmp_path / "train.csv", "y")
    assert data.features is not None
    for value in values:
        rows = frame[(frame.code == value) & (frame.y == values[0])]
        rows.to_csv(tmp_path / "test.csv", index=False)
        folder = load_table(tmp_path, "y")
        for x, y in (read_table(tmp_path / "test.csv", data.features, "y", data.classes), (folder.x_test, folder.y_test)):
            assert y is not None
            assert x[:, data.features.index(f"code={value}")].tolist() == [1.0] * len(rows)
            assert x[:, :3].sum() == len(rows)
            assert [data.classes[label] for label in y] == [values[0]] * len(rows)  # type: ignore[index]
