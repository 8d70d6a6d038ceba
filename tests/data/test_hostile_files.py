"""Small files that would take much memory or time, and what is no file: refused before they do."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ANYTHING, refuses

from pyro_vd import load_data, load_pruned
from pyro_vd._core.yaml_files import read_yaml
from pyro_vd.data.files import load_npz
from pyro_vd.data.image_files import read_image
from pyro_vd.data.loading import kind_of_data
from pyro_vd.data.tables import load_table
from pyro_vd.data.text_files import read_lines
from pyro_vd.posterior.arviz_files import read_inference_data
from pyro_vd.training.metrics_log import read_log
from pyro_vd.workflow.run_folder import read_metrics

MEGABYTES = 700


def many_rows(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 4 * 10**7
    pq.write_table(pa.table({"a": np.zeros(rows, np.int8), "y": np.zeros(rows, np.int8)}), path, compression="zstd")


def one_text_in_all_rows(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**5, np.int32)), pa.array(["x" * 10**5]))
    schema = pa.schema([("a", texts.type), ("y", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        writer.write_table(pa.table({"a": texts, "y": np.zeros(10**5, np.int64)}))


def repeated_texts(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": ["x" * 10**5] * 3000, "y": np.zeros(3000, np.int64)}), path)


def one_long_text(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.table({"a": ["x" * 3 * 10**8, "y"], "y": [0, 1]})
    pq.write_table(texts, path, compression="zstd", use_dictionary=False, write_statistics=False)


def one_array_in_many_places(path: Path) -> None:
    """The places of an array of arrays hold where these are: here all of them where the first one is, of 60 kB."""
    import h5py

    with h5py.File(path, "w") as file:
        arrays = file.create_group("posterior").create_dataset("b", (30_000,), h5py.vlen_dtype("u1"))
        arrays[:] = np.array([np.zeros(60_000 if not number else 1, np.uint8) for number in range(30_000)], object)
        place = arrays.id.get_offset()
    content = bytearray(path.read_bytes())
    content[place : place + 16 * 30_000] = bytes(content[place : place + 16]) * 30_000
    path.write_bytes(content)


def pixels(path: Path) -> None:
    """As many as Pillow itself still reads."""
    from PIL import Image

    Image.new("1", (13_300, 13_300)).save(path)


def columns(path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(100_000))
    path.write_text(f"{names},y\n{'1,' * 100_000}1\n")


def short_texts(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        for _ in range(100):
            file.write(b'{"text":"","label":0}\n' * 10_000)


def zeros(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        for _ in range(30):
            file.write(bytes(10**7))


def empty_lists(path: Path) -> None:
    path.write_bytes(b"[" + b"[]," * 20_000_000 + b"[]]")


def a_long_line(path: Path) -> None:
    path.write_bytes(b"[" + b"[]," * 1_000_000 + b"[]]")


def short_lines(path: Path) -> None:
    path.write_bytes(b"0\n" * 30_000_000)


def table(path: Path) -> Any:
    return load_table(path, "y", test=0.2)


BOMBS: dict[str, tuple[str, Callable[[Path], None], Callable[[Path], Any]]] = {
    "rows": ("a.parquet", many_rows, table),
    "a category in all rows": ("a.parquet", one_text_in_all_rows, table),
    "a text in all rows": ("a.parquet", repeated_texts, table),
    "a text in one row": ("a.parquet", one_long_text, table),
    "pixels": ("a.png", pixels, read_image),
    "an array in many places": ("a.nc", one_array_in_many_places, read_inference_data),
    "columns": ("a.csv", columns, table),
    "short texts": ("a.jsonl.gz", short_texts, read_lines),
    "zeros": ("a.jsonl.gz", zeros, read_lines),
    "empty lists": ("metrics.json", empty_lists, lambda path: read_metrics(path.parent)),
    "short lines": ("metrics.jsonl", short_lines, read_log),
    "a line": ("metrics.jsonl", a_long_line, read_log),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs(tmp_path: Path, case: str) -> None:
    """The highest memory of a process never falls: each case has one of its own, which has read nothing else."""
    name, write, _ = BOMBS[case]
    write(path := tmp_path / name)
    with ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        seconds, kilobytes = pool.submit(refused, case, path).result()
    assert seconds < 10
    assert kilobytes < MEGABYTES * 1000


def refused(case: str, path: Path) -> tuple[float, int]:
    """The processor time and the memory that the refusal takes."""
    started, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refuses(ANYTHING, ANYTHING, str(path)):
        BOMBS[case][2](path)
    return time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak


def test_a_header_of_a_gigabyte(tmp_path: Path) -> None:
    (path := tmp_path / "a.safetensors").write_bytes((2**30).to_bytes(8, "little") + b"{}")
    with refuses(ANYTHING, 2**30, str(path)):
        load_pruned(path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.npz", load_npz),
        ("a.csv", table),
        ("a.parquet", table),
        ("a.jsonl", read_lines),
        ("a.jsonl.gz", read_lines),
        ("a.safetensors", load_pruned),
        ("a.yaml", read_yaml),
        ("a.npz", lambda path: load_data(str(path))),
        ("metrics.jsonl", read_log),
    ],
)
def test_pipes_are_not_read(tmp_path: Path, name: str, read: Callable[[Path], Any]) -> None:
    """Nobody writes into them: the reader would wait for ever."""
    os.mkfifo(path := tmp_path / name)
    with refuses(ANYTHING, ANYTHING, str(path)):
        read(path)


def test_a_parquet_file_that_crashes_its_library(tmp_path: Path) -> None:
    """Arrow throws what Python does not know where the statistics of sizes do not fit; in older versions there are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    columns = {"a": np.arange(40) % 7, "y": np.arange(40) % 2, "c": ["x", "y z"] * 20}
    pq.write_table(pa.table(columns), path)
    content = path.read_bytes()
    statistics = bytes([6, 25, 38, 0])  # a list of two numbers, the histogram of levels
    path.write_bytes(content.replace(statistics, bytes([54, 93, 132, 122])))
    if statistics in content:
        with refuses(str(path), ANYTHING, "SIGABRT"):
            table(path)
    else:
        assert len(table(path).x_train) == 32


def test_a_text_of_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    """Arrow takes the bytes as they are; it raises an error of its own only when they are used."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    texts = pa.array([b"x", b"\xff"] * 20, pa.binary()).view(pa.string())
    pq.write_table(pa.table({"a": texts, "y": np.arange(40) % 2}), path)
    with refuses(str(path), ANYTHING, "UTF8"):
        table(path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("data", load_data),
        ("data_dir", lambda path: load_data("mnist", path)),
        ("data", kind_of_data),
        ("path", lambda path: load_table(path, "y")),
    ],
)
@pytest.mark.parametrize("path", ["x" * 5000 + ".csv", "a/" * 3000 + "a.npz", 3])
def test_what_cannot_be_a_path(name: str, read: Callable[[Any], Any], path: Any) -> None:
    with refuses(name, path):
        read(path)
