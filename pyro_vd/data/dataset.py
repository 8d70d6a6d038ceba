"""A data set in memory, and its split into training and validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.utils.data
from torch import Tensor

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd.data.array_inputs import inputs_in, integers_in, is_integers, is_pixels
from pyro_vd.networks.input_checks import check_pair, inputs_of
from pyro_vd.networks.inputs import num_examples, rows, shapes_of

Arrays = tuple[Any, Any]
"""Inputs in any form (see :data:`~pyro_vd.networks.inputs.Inputs`) and observations ``(n, …)``; of classes, integer labels."""

KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Dataset:
    """Training and test data.

    Inputs ``(n, …)`` are float32, pixels in [0, 1], or integers, such as token ids; several inputs are a tuple or a mapping.
    Observations are class labels ``(n,)`` from 0, as int64, or numbers ``(n, …)``.

    Raises:
        InputError: see :func:`~pyro_vd.networks.input_checks.check_pair`; the shapes of training and test inputs differ; or
            there are not as many names of features as features.

    Examples:
        >>> from pyro_vd import load_data
        >>> data = load_data("digits")
        >>> data.x_train.shape, data.y_test.shape
        (torch.Size([1437, 64]), torch.Size([360]))
        >>> train, validation = data.split(200)
        >>> len(train[0]), len(validation[0])
        (1237, 200)
    """

    name: str
    x_train: Any
    y_train: Tensor
    x_test: Any
    y_test: Tensor
    features: tuple[str, ...] | None = field(default=None, kw_only=True)
    """The names of the numbers of an input, where inputs are ``(n, features)``; None where they have none."""
    classes: tuple[str, ...] | None = field(default=None, kw_only=True)
    """The names of the classes, in the order of their labels; None where they have none, or numbers are observed."""
    words: tuple[str, ...] | None = field(default=None, kw_only=True)
    """The word that each token stands for, in the order of the tokens, where inputs are texts; None otherwise."""

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {', '.join(f'{key} {shapes_of(getattr(self, key))}' for key in KEYS)})"

    def __post_init__(self) -> None:
        for key in KEYS:
            object.__setattr__(self, key, inputs_of(f"{self.name}, {key}", getattr(self, key), torch.get_default_dtype()))
        check_pair(f"{self.name}, training data", self.x_train, self.y_train)
        check_pair(f"{self.name}, test data", self.x_test, self.y_test)
        shapes = shapes_of(rows(self.x_train, 0)), shapes_of(rows(self.x_test, 0))
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{self.name}: training inputs of shape {shapes[0]}, test inputs {shapes[1]}; they must agree",
                name=self.name,
                value=shapes,
            )
        if self.features is not None and shapes[0] != (len(self.features),):
            raise InputError(
                f"{self.name}: {len(self.features)} names of features for inputs of shape {shapes[0]}; each must have one",
                name="features",
                value=self.features,
                allowed="one name for each number of an input",
            )

    @property
    def test(self) -> Arrays:
        """Test inputs and observations, for the final measurement only, never for choosing anything."""
        return self.x_test, self.y_test

    def split(self, validation: float, seed: int = 0) -> tuple[Arrays, Arrays | None]:
        """Split the training data at random into training data and held-out data; None where nothing is held out.

        Args:
            validation: how many examples are held out: their number, or their share, which is below 1.
            seed: of the random choice.

        Raises:
            InputError: ``validation`` is negative, or leaves no training example.
        """
        n = num_examples(self.x_train)
        count = max(1, round(validation * n)) if isinstance(validation, float) and 0 < validation < 1 else validation
        count = check_number("validation", count, low=0, high=n - 1, whole=True)
        seed = check_number("seed", seed, low=0, high=2**63 - 1, whole=True)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        held, rest = order[:count].sort().values, order[count:].sort().values
        train = rows(self.x_train, rest), rows(self.y_train, rest)
        return train, (rows(self.x_train, held), rows(self.y_train, held)) if count else None


Part = Literal["train", "test"]
Data = Any
"""Inputs and observations: a pair of tensors, NumPy arrays or lists of numbers; or a data set. See :func:`pair_of`.

Several inputs are a tuple or a mapping of these, as the network takes them: ``((images, ages), y)``, ``({"input_ids": …}, y)``.
"""


def pair_of(name: str, data: Any, part: Part | None, dtype: torch.dtype) -> Arrays:
    """Inputs and observations as tensors.

    Args:
        name: what they are called in an error.
        data: a pair of tensors, arrays or lists of numbers, or of tuples and mappings of these; a :class:`Dataset`, of which
            ``part`` is taken; or a ``torch.utils.data.Dataset`` of such examples in memory, which is read completely.
        part: the part of a :class:`Dataset`; None refuses a :class:`Dataset`.
        dtype: type of inputs that are not given as a tensor.

    Raises:
        InputError: ``data`` is none of these.
    """
    if isinstance(data, Dataset):
        if part is None:
            raise InputError(
                f"{name} is a Dataset, whose test data are never for choosing; it must be the validation data of "
                "train, validation = data.split(200)",
                name=name,
                value=data,
            )
        data = data.test if part == "test" else (data.x_train, data.y_train)
    elif isinstance(data, torch.utils.data.Dataset):
        data = _read_whole(name, data)
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise InputError(
            f"{name} is a {type(data).__name__}{f' of {len(data)}' if isinstance(data, tuple | list) else ''}; it must be a "
            "pair of tensors or arrays, inputs and labels, as Dataset.split() and Dataset.test are, or a Dataset"
            f"{'; give inputs and labels as one argument, (x, y)' if isinstance(data, Tensor | np.ndarray) else ''}",
            name=name,
            value=data,
        )
    x, y = data
    return inputs_of(f"{name}, inputs", x, dtype), inputs_of(f"{name}, labels", y)


def _read_whole(name: str, data: Any) -> Any:
    try:
        return as_tuples(torch.utils.data.default_collate([data[index] for index in range(len(data))]))
    except (TypeError, RuntimeError, NotImplementedError, ValueError, IndexError) as error:
        raise InputError(
            f"{name} is a {type(data).__name__} that cannot be read as pairs of tensors of one shape: {one_line(error)}",
            name=name,
            value=data,
        ) from error


def as_tuples(x: Any) -> Any:
    """Turn lists into tuples: a ``DataLoader`` makes lists of tuples, and a list of inputs would be read as one array."""
    if isinstance(x, list):
        return tuple(map(as_tuples, x))
    return {key: as_tuples(part) for key, part in x.items()} if isinstance(x, Mapping) else x


def dataset_of(
    name: str,
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    *,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """A data set of arrays; 8-bit pixels are scaled to [0, 1], wider integers, such as tokens, stay integers.

    Raises:
        InputError: an array that does not hold numbers, another kind of numbers in one part, or see :class:`Dataset`.
    """
    if is_pixels(x_train) != is_pixels(x_test) or is_integers(x_train) != is_integers(x_test):
        raise InputError(
            f"{name}: inputs of type {x_train.dtype} and {x_test.dtype}; training and test inputs must both be "
            "8-bit pixels, both be wider integers, or both be other numbers",
            name=name,
            value=(x_train.dtype, x_test.dtype),
        )
    tensors = []
    for x, y in ((x_train, y_train), (x_test, y_test)):
        if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiu":
            raise InputError(
                f"{name}: inputs of type {x.dtype}, labels of type {y.dtype}; they must be numbers",
                name=name,
                value=(x.dtype, y.dtype),
                allowed="numbers",
            )
        tensors += [
            torch.from_numpy(inputs_in(f"{name}, inputs", x)),
            torch.from_numpy(y.astype(np.float64) if y.dtype.kind == "f" else integers_in(f"{name}, labels", y)),
        ]
    named, of_classes = (None if names is None else tuple(names) for names in (features, classes))
    return Dataset(name, *tensors, features=named, classes=of_classes)
