"""Tables that cannot be trained on: one sentence that names the file, the column and the row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import refuses

from pyro_vd import load_data
from pyro_vd.data import load_table

ROWS = "".join(f"{n},{n % 7 / 3},{'ab'[n % 2]},{n * n}\n" for n in range(30))
GOOD = f"n,x,kind,y\n{ROWS}"


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


BAD: dict[str, tuple[str | bytes, str | None, Any, tuple[str, ...]]] = {
    "no rows": ("n,x,kind,y\n", None, 0, ()),
    "empty": ("", None, ..., ()),
    "missing": (changed("5,1.6666666666666667,b", "5,,b"), "x", 1, ("row 6",)),
    "missing, of text": (changed("5,1.6666666666666667,b", "5,1.6,"), "kind", 1, ("row 6",)),
    "missing, at the end of a row": (changed("b,25", "b"), "y", 1, ("row 6",)),
    "infinite": (changed("5,1.6666666666666667,b", "5,-inf,b"), "x", -np.inf, ("row 6",)),
    "beyond float32": (changed("5,1.6666666666666667,b", "5,1e39,b"), "x", 1e39, ("row 6",)),
    "two names": (changed("n,x,", "x,x,"), None, ["x"], ("'x'",)),
    "values in place of names": (GOOD.partition("\n")[2].replace(",a,", ",3,").replace(",b,", ",4,"), None, ..., ("names",)),
    "no name": (changed("n,x,", "n,,"), None, 2, ("column 2",)),
    "semicolons": (GOOD.replace(",", ";"), None, ";", ("';'", "comma", "sep=';'")),
    "tabs": (GOOD.replace(",", "\t"), None, "\t", ("'\\t'",)),
    "too many cells": (changed("b,25", "b,25,7"), None, ..., ()),
    "too many cells in each row": (GOOD.replace("\n", ",1\n").replace("y,1", "y", 1), None, ..., ()),
    "not UTF-8": (changed("5,1.6666666666666667,b", "5,1.6,é").encode("latin-1"), None, ..., ("UTF-8", "0xe9")),
    "binary": (b"\x00\xff" * 50, None, ..., ()),
    "quotes": (changed("b,25", '"b,25'), None, ..., ()),
    "many texts": ("n,x,y\n" + "".join(f"{n},name {n},1.5\n" for n in range(200)), "x", 160, ("at most 100", "data.drop")),
    "a text among numbers": (
        "x,y\n" + "".join(f"{'?' if n == 7 else n + 0.5},1.5\n" for n in range(200)),
        "x",
        160,
        ("'?' in row 8", "numbers"),
    ),
    "prose": ("x,y\n" + "".join(f"it was film {n},1.5\n" for n in range(200)), "x", 160, ("'text'", ".jsonl")),
    "a target of texts that should be numbers": (
        "n,y\n" + "".join(f"{n},€ {n}\n" for n in range(30)),
        "y",
        30,
        ("'€ 0'", "numbers"),
    ),
    "missing, in both parts": (
        "x,y\n" + "".join(f"{'' if n > 10 else n},{n}.5\n" for n in range(100)),
        "x",
        89,
        ("row 12", "of 100"),
    ),
    "a name with =": (changed("kind", "a=b"), "a=b", "a=b", ("'='",)),
    "digits lost": ("t,y\n" + "".join(f"{1_700_000_000 + n},{n}\n" for n in range(30)), "t", 1.7e9, ("1700000000", "float32")),
    "digits of 64 bits": ("t,y\n" + "".join(f"{2**62 + n},{n}\n" for n in range(30)), "t", 2.0**62, ("float32",)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_csv(tmp_path: Path, name: str) -> None:
    content, where, value, mentioned = BAD[name]
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    expected = {} if value is ... else {"value": value}
    with refuses(where or str(path), **expected) as caught:
        load_table(path, "y")
    for text in (str(path), *mentioned):
        assert text in str(caught.value)


@pytest.mark.parametrize("spoil", [lambda good: b"", lambda good: good[:-40], lambda good: b"PAR1" + good[20:]])
def test_bad_parquet(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "bad.parquet"
    pd.DataFrame({"x": np.arange(30.0), "y": np.arange(30.0)}).to_parquet(path)
    path.write_bytes(spoil(path.read_bytes()))
    with refuses(str(path)):
        load_table(path, "y")


def test_a_target_that_is_missing_is_told_with_the_columns_that_there_are(tmp_path: Path) -> None:
    (path := tmp_path / "good.csv").write_text(GOOD)
    with refuses("target", "Kinds", "n, x, kind, y", "did you mean 'kind'?", path):
        load_table(path, "Kinds")
    with refuses("target", None, "n, x, kind, y"):
        load_data(str(path))
    with refuses("drop", "Kinds", "n, x, kind", "did you mean 'kind'?"):
        load_table(path, "y", drop=["n", "Kinds"])
    with refuses("drop", "kind", "list"):
        load_table(path, "y", drop="kind")
    with refuses(str(path), ["n", "x", "kind", "y"]):
        load_table(path, "y", drop=["n", "x", "kind"])


def test_only_tables_have_a_target(tmp_path: Path) -> None:
    with refuses("target", "y", "'digits'"):
        load_data("digits", target="y")
    with refuses("data", str(tmp_path / "nosuch.csv"), ".parquet"):
        load_data(str(tmp_path / "nosuch.csv"), target="y")


def test_the_index_that_pandas_writes_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"x": np.arange(30.0) ** 2, "y": np.arange(30.0)})
    table.to_csv(path := tmp_path / "a.csv")
    assert load_table(path, "y").features == ("x",)
    assert "counts the rows" in caplog.text
    table[::-1].to_csv(path)
    with refuses(str(path), 1, "column 1"):
        load_table(path, "y")
    table.to_csv(path, index_label="row")
    caplog.clear()
    assert load_table(path, "y").features == ("row", "x"), "one that has a name may mean something"
    assert "'row'" in caplog.text
    np.savetxt(path, table.to_numpy(), delimiter=",", header="0,1", comments="")
    assert load_table(path, "1").features == ("0",), "as pandas names the columns of an array"


def test_a_text_among_numbers_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path := tmp_path / "a.csv").write_text(
        "rooms,kind,y\n" + "".join(f"{'n/k' if n == 7 else n % 3},a,{n}\n" for n in range(30))
    )
    assert load_table(path, "y").features == ("rooms=0", "rooms=1", "rooms=2", "rooms=n/k", "kind=a")
    (told,) = caplog.messages
    assert "'rooms'" in told
    assert "'n/k' in row 8" in told


def test_numbers_whose_digits_show_are_read(tmp_path: Path) -> None:
    """Years, large identifiers that differ much, and constant columns, whatever their size."""
    columns = {
        "year": 2000 + np.arange(30),
        "id": np.arange(30) * 10**15,
        "same": np.full(30, 2**53 + 1),
        "tenth": np.full(30, 0.1),
    }
    pd.DataFrame({**columns, "y": np.arange(30.0)}).to_csv(path := tmp_path / "a.csv", index=False)
    data = load_table(path, "y")
    assert data.features == tuple(columns)
    assert data.x_train[:, 0].min() >= 2000


@pytest.mark.parametrize("row", [1, 12, 30])
def test_messages_count_the_rows_of_the_file(tmp_path: Path, row: int) -> None:
    """Not those of its training part."""
    frame = pd.DataFrame({"x": np.arange(30) / 7, "y": np.arange(30) / 2})
    for value, mentioned in ((np.nan, f"1 of 30 values, the first in row {row};"), (np.inf, f"in row {row};")):
        frame.loc[row - 1, "x"] = value
        frame.to_csv(tmp_path / "bad.csv", index=False)
        with refuses("x") as caught:
            load_table(tmp_path / "bad.csv", "y")
        assert mentioned in str(caught.value)


@pytest.mark.parametrize("other", ["kind=a", "kind=new"])
def test_a_column_with_the_name_of_a_feature_of_another_one(tmp_path: Path, other: str) -> None:
    (tmp_path / "bad.csv").write_text(changed("n,x,", f"{other},x,"))
    with refuses(other, other) as caught:
        load_table(tmp_path / "bad.csv", "y")
    assert "'kind'" in str(caught.value)


@pytest.mark.parametrize("before", ["\n\n", "  \n", "\r\n"])
def test_empty_lines_before_the_names_are_skipped(tmp_path: Path, before: str) -> None:
    (tmp_path / "good.csv").write_text(before + GOOD)
    (tmp_path / "same.csv").write_text(GOOD)
    found, expected = (load_table(tmp_path / name, "y") for name in ("good.csv", "same.csv"))
    assert found.features == expected.features
    assert found.x_train.equal(expected.x_train)


@pytest.mark.parametrize("value", ["a", "True", "3"])
def test_a_single_class(tmp_path: Path, value: str) -> None:
    (tmp_path / "bad.csv").write_text("x,y\n" + "".join(f"{n / 7},{value}\n" for n in range(30)))
    with refuses("y", value) as caught:
        load_table(tmp_path / "bad.csv", "y")
    assert "two classes" in str(caught.value)
