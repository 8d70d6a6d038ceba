"""Data of one's own: an ``.npz`` file, or a folder of images."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from pyro_vd.dataset import KEYS, Dataset, dataset_of
from pyro_vd.errors import InputError
from pyro_vd.messages import one_line

_BROKEN = (ValueError, OSError, EOFError, KeyError, SyntaxError, NotImplementedError, MemoryError)
"""What a reader raises, one or another, when a file is not what it says."""


def load_npz(path: Path) -> Dataset:
    """Arrays ``x_train``, ``y_train``, ``x_test``, ``y_test``, class labels or numbers.

    Raises:
        InputError: the file is corrupt, lacks one of them, or holds what cannot be learnt from.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is truncated or no .npz file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if missing := [key for key in KEYS if key not in arrays]:
                raise InputError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(arrays) or 'nothing'}")
            x_train, y_train, x_test, y_test = (arrays[key] for key in KEYS)
    except InputError:
        raise
    except (*_BROKEN, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is corrupt or not an .npz file of plain arrays: {one_line(error)}") from error
    return dataset_of(str(path), x_train, y_train, x_test, y_test)


def load_image_folder(path: Path) -> Dataset:
    """Images of one shape in ``train/<class>/`` and ``test/<class>/``.

    Raises:
        InputError: no such folders, classes or shapes that differ, or a file that is no image.
    """
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
    return dataset_of(str(path), *arrays)
