"""Data sets by name: built in, from torchvision, or files of the user."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd._core.messages import must_be_one_of, one_line
from pyro_vd._core.storage import write_atomically
from pyro_vd.data.dataset import Dataset, dataset_of
from pyro_vd.data.files import load_image_folder, load_npz
from pyro_vd.data.idx_files import read_idx
from pyro_vd.data.imdb import load_imdb

DATA_VARIABLE = "PYRO_VD_DATA"
_TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}
NAMES = ("digits", "diabetes", *_TORCHVISION, "imdb")


def load_data(name: str, data_dir: Path | str | None = None) -> Dataset:
    """Load a data set.

    Args:
        name: ``digits`` and ``diabetes`` (scikit-learn's, built in), ``mnist``, ``fashion-mnist``, ``cifar10``; ``imdb``,
            reviews as tokens; the path of an ``.npz`` file with x_train, y_train, x_test and y_test, of which y holds class
            labels or numbers, and x numbers, 8-bit pixels, which are divided by 255, or wider integers, such as tokens, which
            stay integers; or a folder of images in ``train/<class>/`` and ``test/<class>/``.
        data_dir: torchvision root; see :func:`data_root`. Missing files are downloaded if possible, but not those of ``imdb``.

    Raises:
        InputError: an unknown name; data that are missing, broken or unfit for training; or a package that reads them is not
            installed.
    """
    if built_in := {"digits": _digits, "diabetes": _diabetes}.get(name):
        return built_in()
    if name in _TORCHVISION:
        return _torchvision(name, data_root(data_dir))
    if name == "imdb":
        return load_imdb(data_root(data_dir))
    path = Path(name)
    if path.suffix == ".npz" and path.is_file():
        return load_npz(path)
    if path.is_dir():
        return load_image_folder(path)
    allowed = f"one of {', '.join(NAMES)}, an .npz file or a folder of images that exists"
    message = must_be_one_of("data", name, NAMES, ", an .npz file or a folder of images that exists")
    raise InputError(message, name="data", value=name, allowed=allowed)


def data_root(data_dir: Path | str | None = None) -> Path:
    """The torchvision root: ``data_dir``, or the environment variable PYRO_VD_DATA, or ``~/.cache/pyro_vd``."""
    return Path(data_dir or os.environ.get(DATA_VARIABLE) or Path.home() / ".cache" / "pyro_vd")


def _digits() -> Dataset:
    check_installed("data 'digits'", "scikit-learn")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(images / 16, labels, test_size=360, random_state=0, stratify=labels)
    return dataset_of("digits", x_train, y_train, x_test, y_test)


def _diabetes() -> Dataset:
    """442 patients, 10 measurements; the disease's progression after a year, in its own units (Efron 2004)."""
    check_installed("data 'diabetes'", "scikit-learn")
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    inputs, progression = load_diabetes(return_X_y=True, scaled=False)
    x_train, x_test, y_train, y_test = train_test_split(inputs, progression, test_size=89, random_state=0)
    mean, std = x_train.mean(0), x_train.std(0)
    return dataset_of("diabetes", (x_train - mean) / std, y_train, (x_test - mean) / std, y_test)


def _torchvision(name: str, root: Path) -> Dataset:
    check_installed(f"data '{name}'", "torchvision")
    import torchvision

    if root.exists() and not root.is_dir():
        raise InputError(
            f"data_dir (={str(root)!r}) is a file; it must be a torchvision root, or a folder to make one in",
            name="data_dir",
            value=str(root),
            allowed="a torchvision root",
        )
    kind: Callable[..., Any] = getattr(torchvision.datasets, _TORCHVISION[name])
    raw = root / kind.__name__ / "raw"
    files = [(raw / f"{part}-images-idx3-ubyte", raw / f"{part}-labels-idx1-ubyte") for part in ("train", "t10k")]
    if name == "cifar10":
        arrays = _arrays(_cifar10(kind, root) or _download(name, kind, root))
    elif all(file.exists() for pair in files for file in pair):
        arrays = [(read_idx(images, 3), read_idx(labels, 1)) for images, labels in files]
    else:
        arrays = _arrays(_download(name, kind, root))
    return dataset_of(name, *(_channels_first(array) for pair in arrays for array in pair))


def _arrays(parts: list[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(part.data), np.asarray(part.targets)) for part in parts]


def _cifar10(kind: Callable[..., Any], root: Path) -> list[Any]:
    """Training and test data; an empty list if they are missing. torchvision unpickles only files whose digest it knows."""
    if not (folder := root / "cifar-10-batches-py").exists():
        return []
    try:
        return [kind(root, train=train) for train in (True, False)]
    except Exception as error:
        raise InputError(
            f"cifar10 in {folder} is truncated or of another format: {one_line(error)}", name=str(folder), value="cifar10"
        ) from error


def _download(name: str, kind: Callable[..., Any], root: Path) -> list[Any]:
    """Download into a temporary folder first, so that a failure leaves nothing behind."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            parts = [kind(temporary, train=train, download=True) for train in (True, False)]
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{name} is not in {root}, and it could not be downloaded ({one_line(error)}). Set {DATA_VARIABLE} or "
                "--data-dir to a torchvision root that holds it, or use the built-in data 'digits'.",
                name="data",
                value=name,
            ) from error
        for source in Path(temporary).rglob("*"):
            target = root / source.relative_to(temporary)
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, source.read_bytes())
    return parts


def _channels_first(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2) if images.ndim == 4 else images
