"""Data sets of the user: an ``.npz`` file, or a folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pyro_vd._core.array_files import read_arrays
from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd._core.messages import one_line
from pyro_vd.data.dataset import KEYS, Dataset, dataset_of
from pyro_vd.data.image_files import read_image

NPZ = "an .npz file of plain arrays"
"""What a file of arrays is called in errors."""


def load_npz(path: Path) -> Dataset:
    """Load a file with the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test``; y holds class labels or numbers.

    Raises:
        InputError: the file is corrupt, lacks one of them, or holds values that cannot be trained on.
    """
    arrays = read_arrays(path, NPZ, KEYS)
    return dataset_of(str(path), *(arrays[key] for key in KEYS))


def load_image_folder(path: Path) -> Dataset:
    """Load images of one shape from ``train/<class>/`` and ``test/<class>/``.

    Raises:
        InputError: torchvision is not installed; a folder is missing, classes or shapes differ, or a file is not an image of 8
            bits per channel, see :func:`~pyro_vd.data.image_files.read_image`.
    """
    check_installed("a folder of images", "torchvision")
    from torchvision.datasets import ImageFolder

    arrays: list[np.ndarray] = []
    classes: list[list[str]] = []
    for part in ("train", "test"):
        try:
            folder = ImageFolder(path / part)
        except OSError as error:
            raise InputError(
                f"{path} needs {part}/<class>/ folders of images: {one_line(error)}", name=str(path), value=part
            ) from error
        classes.append(folder.classes)
        images = [read_image(file) for file, _ in folder.samples]
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            raise InputError(
                f"{path / part}: images of shapes {sorted(shapes)}; all must have one shape (channels, h, w)",
                name=str(path / part),
                value=sorted(shapes),
            )
        arrays += [np.stack(images), np.asarray(folder.targets)]
    if classes[0] != classes[1]:
        raise InputError(
            f"{path}: train has the classes {classes[0]}, test {classes[1]}; they must agree", name=str(path), value=classes
        )
    return dataset_of(str(path), *arrays, classes=classes[0])
