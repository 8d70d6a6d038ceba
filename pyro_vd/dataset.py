"""A data set, whole and in memory, and its split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vd.checks import check_arrays, check_number
from pyro_vd.errors import InputError

KEYS = ("x_train", "y_train", "x_test", "y_test")


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
        return f"Dataset({self.name!r}, {', '.join(f'{key} {tuple(getattr(self, key).shape)}' for key in KEYS)})"

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


def dataset_of(name: str, x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> Dataset:
    """A data set of arrays; pixels of eight bits come to lie in [0, 1].

    Raises:
        InputError: no numbers, training and test data scaled otherwise, or what :class:`Dataset` refuses.
    """
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
