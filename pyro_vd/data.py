"""Data sets, whole and in memory: built in, from torchvision, from an ``.npz`` file, from a folder of images."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vd.checks import check_arrays, check_number
from pyro_vd.errors import InputError
from pyro_vd.messages import must_be_one_of, one_line
from pyro_vd.storage import write_atomically

DATA_VARIABLE = "PYRO_VD_DATA"
_TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}
NAMES = ("digits", "diabetes", *_TORCHVISION)
_KEYS = ("x_train", "y_train", "x_test", "y_test")
_BROKEN = (ValueError, OSError, EOFError, KeyError, SyntaxError, NotImplementedError, MemoryError)
"""What a reader raises, one or another, when a file is not what it says."""


@dataclass(frozen=True)
class Dataset:
    """Inputs as float32, ``(n, …)``, pixels in [0, 1]; labels as int64, ``(n,)``, from 0, or numbers to predict, ``(n, …)``.

    Raises:
        InputError: see :func:`pyro_vd.checks.check_arrays`; or the shapes of training and test inputs differ.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {', '.join(f'{key} {tuple(getattr(self, key).shape)}' for key in _KEYS)})"

    def __post_init__(self) -> None:
        check_arrays(f"{self.name}, training data", self.x_train, self.y_train)
        check_arrays(f"{self.name}, test data", self.x_test, self.y_test)
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            shapes = tuple(self.x_train.shape[1:]), tuple(self.x_test.shape[1:])
            raise InputError(f"{self.name}: training inputs of shape {shapes[0]}, test inputs {shapes[1]}; they must agree")

    @property
    def test(self) -> tuple[Tensor, Tensor]:
        """Test inputs and observations; for the last measurement only, never for choosing anything."""
        return self.x_test, self.y_test

    def split(self, validation: int, seed: int = 0) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor] | None]:
        """Training data, and the ``validation`` examples drawn from it at random and held out; None for 0.

        Raises:
            InputError: ``validation`` negative, or no training example left.
        """
        check_number("validation", validation, low=0, high=len(self.x_train) - 1, whole=True)
        order = torch.randperm(len(self.x_train), generator=torch.Generator().manual_seed(seed))
        held, rest = order[:validation].sort().values, order[validation:].sort().values
        train = self.x_train[rest], self.y_train[rest]
        return train, (self.x_train[held], self.y_train[held]) if validation else None


def load_data(name: str, data_dir: Path | str | None = None) -> Dataset:
    """Load a data set.

    Args:
        name: ``digits`` and ``diabetes`` (scikit-learn's, built in), ``mnist``, ``fashion-mnist``, ``cifar10``; the path of an
            ``.npz`` file with x_train, y_train, x_test and y_test, class labels or numbers; or a folder of images in
            ``train/<class>/`` and ``test/<class>/``.
        data_dir: torchvision root; see :func:`data_root`. What is missing there is downloaded, where possible.

    Raises:
        InputError: unknown name, data missing, broken or unfit for training.
    """
    if built_in := {"digits": _digits, "diabetes": _diabetes}.get(name):
        return built_in()
    if name in _TORCHVISION:
        return _torchvision(name, data_root(data_dir))
    path = Path(name)
    if path.suffix == ".npz" and path.is_file():
        return _npz(path)
    if path.is_dir():
        return _image_folder(path)
    raise InputError(must_be_one_of("data", name, NAMES, ", an .npz file or a folder of images that exists"))


def data_root(data_dir: Path | str | None = None) -> Path:
    """The torchvision root: ``data_dir``, or the environment variable PYRO_VD_DATA, or ``~/.cache/pyro_vd``."""
    return Path(data_dir or os.environ.get(DATA_VARIABLE) or Path.home() / ".cache" / "pyro_vd")


def _digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(images / 16, labels, test_size=360, random_state=0, stratify=labels)
    return _dataset("digits", x_train, y_train, x_test, y_test)


def _diabetes() -> Dataset:
    """442 patients, 10 measurements; the disease's progression after a year, in its own units (Efron 2004)."""
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    inputs, progression = load_diabetes(return_X_y=True, scaled=False)
    x_train, x_test, y_train, y_test = train_test_split(inputs, progression, test_size=89, random_state=0)
    mean, std = x_train.mean(0), x_train.std(0)
    return _dataset("diabetes", (x_train - mean) / std, y_train, (x_test - mean) / std, y_test)


def _torchvision(name: str, root: Path) -> Dataset:
    import torchvision

    if root.exists() and not root.is_dir():
        raise InputError(f"data folder (={str(root)!r}) is a file; it must be a torchvision root, or a folder to make one in")
    kind: Callable[..., Any] = getattr(torchvision.datasets, _TORCHVISION[name])
    try:
        parts = [kind(root, train=train) for train in (True, False)]
    except RuntimeError as error:
        is_there = name == "cifar10" and (root / "cifar-10-batches-py").exists()  # "not found or corrupted", says torchvision
        if is_there or "not found" not in str(error):
            raise InputError(f"{name} in {root} is truncated or of another format: {one_line(error)}") from error
        parts = _download(name, kind, root)
    except (ValueError, AssertionError, EOFError, OSError) as error:
        raise InputError(f"{name} in {root} is truncated or of another format: {one_line(error)}") from error
    arrays = [(np.asarray(part.data), np.asarray(part.targets)) for part in parts]
    return _dataset(name, *(_channels_first(array) for pair in arrays for array in pair))


def _download(name: str, kind: Callable[..., Any], root: Path) -> list[Any]:
    """Download into a temporary folder first, so that a failure leaves nothing behind."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            parts = [kind(temporary, train=train, download=True) for train in (True, False)]
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{name} is not in {root}, and it could not be downloaded ({one_line(error)}). Set {DATA_VARIABLE} or "
                "--data-dir to a torchvision root that holds it, or use the built-in data 'digits'."
            ) from error
        for source in Path(temporary).rglob("*"):
            target = root / source.relative_to(temporary)
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, source.read_bytes())
    return parts


def _channels_first(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2) if images.ndim == 4 else images


def _npz(path: Path) -> Dataset:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is truncated or no .npz file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if missing := [key for key in _KEYS if key not in arrays]:
                raise InputError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(arrays) or 'nothing'}")
            x_train, y_train, x_test, y_test = (arrays[key] for key in _KEYS)
    except InputError:
        raise
    except (*_BROKEN, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is corrupt or not an .npz file of plain arrays: {one_line(error)}") from error
    return _dataset(str(path), x_train, y_train, x_test, y_test)


def _image_folder(path: Path) -> Dataset:
    from PIL.Image import DecompressionBombError
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.functional import pil_to_tensor

    arrays: list[np.ndarray] = []
    classes: list[list[str]] = []
    for part in ("train", "test"):
        try:
            folder = ImageFolder(path / part)
        except OSError as error:
            raise InputError(f"{path} needs {part}/<class>/ folders of images: {one_line(error)}") from error
        classes.append(folder.classes)
        images = []
        for file, _ in folder.samples:
            try:
                images.append(pil_to_tensor(folder.loader(file)))
            except (*_BROKEN, DecompressionBombError) as error:
                raise InputError(f"{file} is corrupt or no image: {one_line(error)}") from error
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            raise InputError(f"{path / part}: images of shapes {sorted(shapes)}; all must have one shape (channels, h, w)")
        arrays += [torch.stack(images).numpy(), np.asarray(folder.targets)]
    if classes[0] != classes[1]:
        raise InputError(f"{path}: train has the classes {classes[0]}, test {classes[1]}; they must agree")
    return _dataset(str(path), *arrays)


def _dataset(name: str, x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> Dataset:
    if (x_train.dtype == np.uint8) != (x_test.dtype == np.uint8):
        raise InputError(f"{name}: inputs of type {x_train.dtype} and {x_test.dtype}; training and test must be scaled alike")
    tensors = []
    for x, y in ((x_train, y_train), (x_test, y_test)):
        if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiu":
            raise InputError(f"{name}: inputs of type {x.dtype}, labels of type {y.dtype}; they must be numbers")
        scale = 255.0 if x.dtype == np.uint8 else 1.0
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
            inputs = np.asarray(x, np.float32) / np.float32(scale)
        tensors += [
            torch.from_numpy(np.asarray(inputs)),
            torch.from_numpy(y.astype(np.float64 if y.dtype.kind == "f" else np.int64)),
        ]
    return Dataset(name, *tensors)
