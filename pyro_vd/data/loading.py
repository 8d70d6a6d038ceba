"""Data sets by name: built in, from torchvision, or files of the user."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyro_vd._core.arguments import check_path
from pyro_vd._core.array_files import read_arrays
from pyro_vd._core.ending import temporary_folder
from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd._core.messages import must_be_one_of, one_line
from pyro_vd._core.storage import write_atomically
from pyro_vd.data.array_inputs import is_integers
from pyro_vd.data.dataset import Dataset, dataset_of
from pyro_vd.data.files import NPZ, load_image_folder, load_npz
from pyro_vd.data.idx_files import read_idx
from pyro_vd.data.imdb import load_imdb
from pyro_vd.data.tables import holds_tables, load_table
from pyro_vd.data.text_files import holds_texts, load_texts

DATA_VARIABLE = "PYRO_VD_DATA"
_TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}
NAMES = ("digits", "diabetes", *_TORCHVISION, "imdb")


def load_data(
    name: str,
    data_dir: Path | str | None = None,
    *,
    target: str | None = None,
    test: float | None = None,
    drop: Sequence[str] = (),
    as_classes: bool | None = None,
) -> Dataset:
    """Load a data set.

    Args:
        name: ``digits`` and ``diabetes`` (scikit-learn's, built in), ``mnist``, ``fashion-mnist``, ``cifar10``; ``imdb``,
            reviews as tokens; or a path of your own: a table, ``.csv`` or ``.parquet``; an ``.npz`` file with x_train, y_train,
            x_test and y_test, of which y holds class labels or numbers, and x numbers, 8-bit pixels, which are divided by 255,
            or wider integers, such as tokens, which stay integers; or a folder with ``train`` and ``test``, which are tables,
            texts (``.jsonl``, or ``<class>/*.txt``) or images (``<class>/*.png`` and the like).
        data_dir: torchvision root; see :func:`data_root`. Missing files are downloaded if possible, but not those of ``imdb``.
        target, test, drop, as_classes: of a table, see :func:`~pyro_vd.data.load_table`; other data take none of them.

    Raises:
        InputError: an unknown name; data that are missing, broken or unfit for training; or a package that reads them is not
            installed.

    Examples:
        >>> from pyro_vd import load_data
        >>> load_data("diabetes").features[:3]
        ('age', 'sex', 'bmi')
    """
    path = check_path("data", name)
    if name not in NAMES and holds_tables(path):
        return load_table(path, target, test=test, drop=drop, as_classes=as_classes)
    root = data_root(data_dir if data_dir is None else check_path("data_dir", data_dir))
    load: Callable[[], Dataset]
    if built_in := {"digits": _digits, "diabetes": _diabetes}.get(name):
        load = built_in
    elif name in _TORCHVISION:
        load = partial(_torchvision, name, root)
    elif name == "imdb":
        load = partial(load_imdb, root)
    elif path.suffix == ".npz" and path.is_file():
        load = partial(load_npz, path)
    elif path.is_dir():
        load = partial(load_texts if holds_texts(path) else load_image_folder, path)
    else:
        files = ", a table (.csv or .parquet), an .npz file or a folder that exists"
        missing = f"there is no file or folder {name!r}: " if path.suffix or len(path.parts) > 1 else ""
        message = missing + must_be_one_of("data", name, NAMES, files)
        raise InputError(message, name="data", value=name, allowed=f"one of {', '.join(NAMES)}{files}")
    for key, value in {"target": target, "test": test, "drop": list(drop) or None}.items():
        if value is not None:
            raise InputError(name=key, value=value, allowed=f"left out: data {name!r} is no table")
    return load()


def kind_of_data(name: str) -> str | None:
    """What a file or a folder holds, ``tabular``, ``images`` or ``text``, as far as its name and its first array tell.

    Returns:
        None for data that are built in, and for what is none of these.

    Raises:
        InputError: an ``.npz`` file that is broken.
    """
    path = check_path("data", name)
    if name in NAMES or not path.exists():
        return None
    if holds_tables(path):
        return "tabular"
    if path.is_dir():
        return "text" if holds_texts(path) else "images"
    if path.suffix != ".npz":
        return None
    x = read_arrays(path, NPZ, ("x_train",))["x_train"]
    return "images" if x.ndim > 2 else "text" if is_integers(x) else "tabular"


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

    found = load_diabetes(scaled=False)
    x_train, x_test, y_train, y_test = train_test_split(found.data, found.target, test_size=89, random_state=0)
    mean, std = x_train.mean(0), x_train.std(0)
    return dataset_of("diabetes", (x_train - mean) / std, y_train, (x_test - mean) / std, y_test, features=found.feature_names)


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
    with temporary_folder() as temporary:
        try:
            parts = [kind(temporary, train=train, download=True) for train in (True, False)]
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{name} is not in {root}, and it could not be downloaded ({one_line(error)}). Set {DATA_VARIABLE} or "
                "--data-dir to a torchvision root that holds it, or use the built-in data 'digits'.",
                name="data",
                value=name,
            ) from error
        for source in temporary.rglob("*"):
            target = root / source.relative_to(temporary)
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, source.read_bytes())
    return parts


def _channels_first(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2) if images.ndim == 4 else images
