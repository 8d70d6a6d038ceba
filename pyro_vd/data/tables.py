"""Tables of the user as data sets: one file that is divided at random, or a folder with a training and a test file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vd._core.arguments import check_number, check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import must_be_one_of, quoted
from pyro_vd.data.dataset import Dataset
from pyro_vd.data.table_columns import column, feature_names, features_in, text_columns, values_of
from pyro_vd.data.table_files import SUFFIXES, is_table, read_frame
from pyro_vd.data.table_targets import are_text, class_names, observations_in

logger: logging.Logger = logging.getLogger(__name__)

TEST = 0.2
"""The share of the rows of one file that are test data, where nothing is said."""


def load_table(
    path: Path | str,
    target: str | None,
    *,
    test: float | None = None,
    drop: Sequence[str] = (),
    as_classes: bool | None = None,
) -> Dataset:
    """Load a table: every column but the target is a feature, or several.

    Numbers are one feature, and so are truth values, as 0 and 1. A column of text or categories is one feature for each of its
    values in the training part, called ``city=Paris``, which is 1 or 0. Nothing is standardized: that is what
    :class:`~pyro_vd.networks.Standardize` does, in the network.

    Args:
        path: a ``.csv`` or ``.parquet`` file, or a folder with ``train`` and ``test`` of such a name.
        target: the name of the column to predict.
        test: how many rows of one file are test data, drawn at random, the same in every call: a number of at least 1, or a
            share below 1; None for a fifth. Each class has about the same share in both parts.
        drop: the names of columns to leave out.
        as_classes: whether the target is a class; see :func:`~pyro_vd.data.table_targets.class_names`.

    Returns:
        Inputs ``(n, features)``, with ``features`` and, for a target of classes, ``classes``, their names.

    Raises:
        InputError: a package is missing; a file is missing, broken or empty; a column is missing, has missing values or a type
            that cannot be read; or the test part would be empty, or all.
    """
    path = check_path("path", path)
    if path.is_dir():
        if test is not None:
            raise InputError(name="test", value=test, allowed=f"left out: {path} has a test file")
        files = [_part(path, part) for part in ("train", "test")]
    else:
        files = [path, path]
    whole = read_frame(files[0])
    target = _checked_target(files[0], whole, target)
    kept = _kept(files[0], whole, target, drop)
    classes = class_names(str(files[0]), whole, target, as_classes)
    if classes is not None and len(classes) == 1:
        message = f"{files[0]}: target {target!r} is {classes[0]!r} in each row; there must be two classes or more"
        raise InputError(message, name=target, value=classes[0], allowed="two classes or more")
    for name in kept:
        values_of(str(files[0]), column(str(files[0]), whole, name))  # before the split, so that a message counts all rows
    if path.is_dir():
        features = feature_names(str(files[0]), whole[kept])
        tables = [whole, _frame_like(files[1], features, target, classes)]
    else:
        y = observations_in(str(path), whole, target, classes)
        chosen = _test_rows(y, classes is not None, _number_of_tests(path, TEST if test is None else test, len(y)))
        if not chosen.any():
            example = quoted((classes or ("",))[0])
            message = (
                f"{path}: target {target!r} is another class in each of the {len(y)} rows, such as {example}; "
                "some classes must occur twice, or the column must hold numbers"
            )
            raise InputError(message, name=target, value=len(y), allowed="fewer classes than rows")
        tables = [whole.iloc[np.flatnonzero(~chosen)], whole.iloc[np.flatnonzero(chosen)]]
        features = feature_names(str(files[0]), tables[0][kept])
    _warn_of_row_numbers(files[0], whole[kept])
    arrays: list[Tensor] = []
    for file, table in zip(files, tables, strict=True):
        arrays += [torch.from_numpy(features_in(str(file), table, features))]
        arrays += [torch.from_numpy(observations_in(str(file), table, target, classes))]
    return Dataset(str(path), *arrays, features=features, classes=classes)


def read_table(
    path: Path | str, features: Sequence[str], target: str | None = None, classes: Sequence[str] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Read the rows of another table for a network that was trained on one, in the order of the network's inputs.

    Args:
        path: a ``.csv`` or ``.parquet`` file, or a folder with ``test`` of such a name. Columns that the network does not know
            are not read.
        features: the names of the network's inputs, :attr:`Dataset.features` of the data that it was trained on.
        target: the column of the observations; None if there is none.
        classes: the names of the classes in their order, :attr:`Dataset.classes`; None if the target holds numbers.

    Returns:
        Inputs ``(n, features)``, and observations ``(n,)`` or None.

    Raises:
        InputError: see :func:`load_table`; or the target holds another class.
    """
    path = check_path("path", path)
    frame = _frame_like(path := _part(path, "test") if path.is_dir() else path, features, target, classes)
    x = torch.from_numpy(features_in(str(path), frame, features))
    return x, None if target is None else torch.from_numpy(observations_in(str(path), frame, target, classes))


def holds_tables(path: Path) -> bool:
    """Whether a path is that of a table, or of a folder with tables for training and test."""
    return is_table(path) if path.is_file() else any((path / f"train{suffix}").is_file() for suffix in SUFFIXES)


def _frame_like(path: Path, features: Sequence[str], target: str | None, classes: Sequence[str] | None) -> Any:
    """A table whose columns of text are those of the table that the features and classes are of."""
    own = {target} if target is not None and are_text(classes) else set()
    return read_frame(path, text_columns(features) | own)


def _part(folder: Path, part: str) -> Path:
    found = [file for suffix in SUFFIXES if (file := folder / f"{part}{suffix}").is_file()]
    if len(found) != 1:
        allowed = f"one of {', '.join(f'{part}{suffix}' for suffix in SUFFIXES)}"
        raise InputError(
            f"{folder} must hold {allowed}; it holds {len(found)} of them", name=str(folder), value=len(found), allowed=allowed
        )
    return found[0]


def _checked_target(file: Path, frame: Any, target: str | None) -> str:
    names = list(frame.columns)
    if target is None:
        message = f"{file}: target is missing; it must be the column to predict, one of {quoted(', '.join(names))}"
        raise InputError(message, name="target", value=None, allowed=f"one of {', '.join(names)}")
    if target not in names:
        message = f"{file}: {must_be_one_of('target', target, names, ', the columns of the table')}"
        raise InputError(message, name="target", value=target, allowed=f"one of {', '.join(names)}")
    return target


def _kept(file: Path, frame: Any, target: str, drop: Sequence[str]) -> list[str]:
    """The columns that are features."""
    if isinstance(drop, str):
        raise InputError(name="drop", value=drop, allowed="a list of names of columns")
    names = [name for name in frame.columns if name != target]
    if unknown := [name for name in drop if name not in names]:
        message = f"{file}: {must_be_one_of('drop', unknown[0], names, ', the columns beside the target')}"
        raise InputError(message, name="drop", value=unknown[0], allowed=f"some of {', '.join(names)}")
    kept = [name for name in names if name not in drop]
    if not kept:
        message = f"{file} has no column beside the target {target!r}; there must be one to predict it from"
        raise InputError(message, name=str(file), value=list(frame.columns), allowed="a column beside the target")
    return kept


def _warn_of_row_numbers(file: Path, frame: Any) -> None:
    for name in frame.columns:
        values = frame[name].to_numpy()
        if values.dtype.kind in "iu" and values[0] in (0, 1) and np.array_equal(values, values[0] + np.arange(len(values))):
            logger.warning(
                "%s: column %r counts the rows; if that is no feature, leave it out (drop; in a recipe, data.drop)", file, name
            )


def _number_of_tests(path: Path, test: float, rows: int) -> int:
    """How many of so many rows are test data."""
    number = check_number("test", test, low=0)
    count = round(number * rows) if number < 1 else int(number)
    if not 1 <= count < rows or (number >= 1 and count != number):
        allowed = f"a share or a number of the {rows} rows of {path} that leaves one for training and one for the test"
        raise InputError(name="test", value=test, allowed=allowed)
    return count


def _test_rows(y: np.ndarray, are_classes: bool, count: int) -> np.ndarray:
    """True for the rows of the test part: at random, of each class about the same share, and never the only one of a class."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0)).numpy()
    if are_classes:
        order = order[np.argsort(y[order], kind="stable")]
        first = np.r_[True, y[order][1:] != y[order][:-1]]
        order = order[~first]
        count = min(count, len(order))
    chosen = np.zeros(len(y), bool)
    chosen[order[np.arange(count) * len(order) // max(count, 1)]] = True
    return chosen
