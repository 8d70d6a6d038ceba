"""Broken data, through the command line: one clear line, and nothing written."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import contents, idx, refused, write_images, write_mnist, write_npz

X = np.random.default_rng(0).random((30, 4), np.float32)
Y = np.arange(30) % 3


def replaced(array: np.ndarray, value: float) -> np.ndarray:
    """``array`` with ``value`` in its eighth row."""
    changed = array.astype(np.float64)
    changed[7, 2] = value
    return changed


BAD_ARRAYS = [
    ({"y_test": None}, ["y_test", "x_train"]),
    ({"x_train": np.array([{"an": "object"}] * 30)}, ["object"]),
    ({"x_train": replaced(X, np.nan)}, [": 1 NaN", "example 7"]),
    ({"x_train": replaced(X, 1e300)}, [": 1 NaN", "example 7"]),
    ({"x_test": replaced(X, -np.inf), "y_test": Y}, ["test data", ": 1 NaN", "example 7"]),
    ({"y_train": Y.astype(float)}, ["float64"]),
    ({"y_train": Y - 1}, ["label -1"]),
    ({"y_train": Y > 0}, ["bool"]),
    ({"y_train": Y[:, None]}, ["(30, 1)"]),
    ({"y_train": np.int64(1)}, ["labels", "()"]),
    ({"y_train": Y[:-1]}, ["30 inputs", "29 labels"]),
    ({"y_train": Y + 7}, ["label 9", "(1, 3)"]),
    ({"y_test": Y[:9] + 7}, ["test data", "label 9", "(1, 3)"]),
    ({"x_train": X.astype(str)}, ["inputs", "<U"]),
    ({"x_train": X.astype(complex)}, ["complex128"]),
    ({"x_train": X[:0], "y_train": Y[:0]}, ["(0, 4)"]),
    ({"x_train": X[:, 0]}, ["(30,)"]),
    ({"x_train": np.float32(1)}, ["inputs", "()"]),
    ({"x_test": X[:9, :3]}, ["(4,)", "(3,)"]),
    ({"x_train": X[:, :3], "x_test": X[:9, :3]}, ["(3,)", "4x3"]),
    ({"x_train": X.astype(int)}, ["int64", "float32"]),
]


def refused_data(tmp_path: Path, name: Path | str, *keys: str, quoted: list[str], sizes: str = "[4, 3]") -> None:
    """Training on this data is refused, and nothing is written."""
    before = contents(tmp_path)
    keys = (f"--data.name={name}", "--data.validation=0", f"--model.sizes={sizes}", *keys)
    refused("train", "digits", "--out", tmp_path / "out", *keys, quoted=quoted)
    assert contents(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("arrays", "quoted"), BAD_ARRAYS, ids=lambda value: value[0] if isinstance(value, list) else "npz")
def test_bad_arrays(tmp_path: Path, arrays: dict[str, np.ndarray | None], quoted: list[str]) -> None:
    write_npz(tmp_path / "a.npz", **arrays)
    refused_data(tmp_path, tmp_path / "a.npz", quoted=quoted)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: b"",
        lambda good: good[: len(good) // 2],
        lambda good: good[:200] + bytes([good[200] ^ 255]) + good[201:],
        lambda good: b"garbage" * 100,
        lambda good: pickle.dumps({"x_train": 1}),
        lambda good: b"\x93NUMPY\x01\x00" + good,
    ],
    ids=["empty", "truncated", "one byte", "garbage", "pickle", "npy"],
)
def test_bad_npz_file(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.npz"
    write_npz(path)
    path.write_bytes(spoil(path.read_bytes()))
    refused_data(tmp_path, path, quoted=[str(path)])


IMAGES = idx(np.zeros((40, 28, 28)))
HUGE = struct.pack(">HBB", 0, 8, 3) + struct.pack(">III", 2**31, 2**15, 2**15) + b"few bytes"


@pytest.mark.parametrize(
    ("file", "content", "quoted"),
    [
        ("train_images_idx3_ubyte", IMAGES[:-100], ["train-images-idx3-ubyte"]),
        ("train_images_idx3_ubyte", IMAGES[:8], ["train-images-idx3-ubyte"]),
        ("train_images_idx3_ubyte", b"", ["train-images-idx3-ubyte"]),
        ("train_images_idx3_ubyte", b"garbage" * 1000, ["train-images-idx3-ubyte"]),
        ("train_images_idx3_ubyte", HUGE, ["train-images-idx3-ubyte"]),
        ("train_images_idx3_ubyte", idx(np.zeros((40, 784))), ["train-images-idx3-ubyte", " 3 "]),
        ("train_images_idx3_ubyte", idx(np.zeros((40, 20, 20))), ["(20, 20)", "(28, 28)"]),
        ("train_labels_idx1_ubyte", b"\0\1\2", ["train-labels-idx1-ubyte", " 1 "]),
        ("train_labels_idx1_ubyte", idx(np.arange(30) % 10), ["40 inputs", "30 labels"]),
        ("t10k_labels_idx1_ubyte", idx(np.full(20, 255)), ["test data", "label 255", "(1, 10)"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_mnist_files(tmp_path: Path, file: str, content: bytes, quoted: list[str]) -> None:
    root = tmp_path / "root"
    write_mnist(root, **{file: content})
    refused_data(tmp_path, "mnist", f"--data.dir={root}", sizes="[784, 10]", quoted=quoted)


def test_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused_data(tmp_path, "mnist", f"--data.dir={tmp_path / 'file'}", quoted=["data_dir", f"'{tmp_path / 'file'}'"])


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:1/"])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "empty"
    root.mkdir()
    quoted = ["mnist", str(root), "PYRO_VD_DATA", "--data-dir", "'digits'"]
    refused_data(tmp_path, "mnist", f"--data.dir={root}", quoted=quoted)
    refused_data(tmp_path, "mnist", f"--data.dir={tmp_path / 'not there'}", quoted=quoted[2:])
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def _break_image(root: Path) -> None:
    (root / "train" / "cat" / "1.png").write_bytes(b"no image")


def _cut_image(root: Path) -> None:
    path = root / "test" / "dog" / "2.png"
    path.write_bytes(path.read_bytes()[:70])


def _other_shape(root: Path) -> None:
    Image.new("RGB", (9, 9)).save(root / "train" / "dog" / "1.png")


def _no_test(root: Path) -> None:
    (root / "test").rename(root / "elsewhere")


def _other_classes(root: Path) -> None:
    (root / "test" / "dog").rename(root / "test" / "cow")


def _empty_class(root: Path) -> None:
    (root / "train" / "emu").mkdir()


@pytest.mark.parametrize(
    ("spoil", "quoted"),
    [
        (_break_image, ["train/cat/1.png"]),
        (_cut_image, ["test/dog/2.png"]),
        (_other_shape, ["(3, 4, 5)", "(3, 9, 9)"]),
        (_no_test, ["test/<class>/"]),
        (_other_classes, ["['cat', 'dog']", "['cat', 'cow']"]),
        (_empty_class, ["emu"]),
        (lambda root: None, ["(3, 4, 5)", "60"]),
    ],
)
def test_bad_image_folder(tmp_path: Path, spoil: Callable[[Path], None], quoted: list[str]) -> None:
    root = write_images(tmp_path / "images")
    spoil(root)
    refused_data(tmp_path, root, sizes="[61, 2]", quoted=quoted)
