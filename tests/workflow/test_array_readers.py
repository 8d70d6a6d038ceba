"""Files of arrays (.npz and IDX): arrays of every kind come back, and what is no array is refused."""

from __future__ import annotations

import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support import ANYTHING, refused, refuses, write_npz

from pyro_vd._core.array_files import read_arrays
from pyro_vd.data.files import load_npz
from pyro_vd.data.idx_files import read_idx


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


@pytest.mark.parametrize("kind", [0x00, 0x09, 0x0B, 0x0D, 0x0E, 0xFF])
def test_idx_of_another_type(tmp_path: Path, kind: int) -> None:
    (path := tmp_path / "t").write_bytes(bytes([0, 0, kind, 1, 0, 0, 0, 2, 1, 2]))
    with refuses(str(path), ANYTHING, " 1 "):
        read_idx(path, 1)
