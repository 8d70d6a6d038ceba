"""The target column of a table: class labels with the names of the classes, or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd.data.table_columns import column, text_error, texts_of, values_of

MOST_CLASSES = 10
"""The most different whole numbers that are taken for class labels where nothing says what they are."""

_LARGEST = 2**53 - 1
"""The largest integer that, like all smaller ones, is not the same as another one in float64."""


def class_names(where: str, frame: Any, target: str, as_classes: bool | None = None) -> tuple[str, ...] | None:
    """The classes of a target column in their order, as text; None where it holds numbers.

    Args:
        where: the file, for messages.
        frame: the table.
        target: the name of the column.
        as_classes: whether the target is a class; None for a class if it is text, a category, a truth value, or one of at most
            :data:`MOST_CLASSES` integers.

    Raises:
        InputError: the column is missing or refused, holds text where ``as_classes`` is False, or numbers with fractions where
            it is True.
    """
    series = column(where, frame, target)
    values = values_of(where, series)
    if values.dtype == object:
        if as_classes is False:
            raise text_error(where, target, values, "the target must be numbers")
        return tuple(sorted(set(values)))
    distinct = np.unique(values)
    is_whole = values.dtype == bool or bool((distinct == np.floor(distinct)).all())
    if as_classes is None:
        is_integer = not np.issubdtype(getattr(series.dtype, "numpy_dtype", series.dtype), np.floating)
        as_classes = values.dtype == bool or (is_integer and is_whole and len(distinct) <= MOST_CLASSES)
    if not as_classes:
        return None
    if not is_whole:
        value = float(distinct[distinct != np.floor(distinct)][0])
        message = f"{where}: column {target!r} holds {value}; classes must be text, truth values or integers"
        raise InputError(message, name=target, value=value, allowed="text, truth values or integers")
    _check_exact(where, target, distinct)
    return tuple(texts_of(distinct))


def _check_exact(where: str, target: str, values: np.ndarray) -> None:
    """Refuse classes that are integers too large for float64, which holds the values of a column."""
    if values.dtype == np.float64 and (largest := np.abs(values).max(initial=0)) > _LARGEST:
        message = f"{where}: column {target!r} holds classes as large as {largest:.0f}; make text of them"
        raise InputError(message, name=target, value=largest, allowed=f"text, or integers of at most {_LARGEST} in size")


def are_text(classes: Sequence[str] | None) -> bool:
    """Whether classes, as :func:`class_names` gives them, are of a column of text: not all are integers or truth values."""
    return classes is not None and not (set(classes) <= {"False", "True"} or all(map(is_integer, classes)))


def is_integer(text: str) -> bool:
    """Whether the name of a class is that of an integer."""
    return text.removeprefix("-").isdecimal()


def observations_in(where: str, frame: Any, target: str, classes: Sequence[str] | None) -> np.ndarray:
    """The observations of each row: labels ``(n,)`` as int64, places in ``classes``; numbers as float64 where it is None.

    Raises:
        InputError: the column is missing or refused, or holds what is no class, or no number.
    """
    values = values_of(where, column(where, frame, target))
    if classes is None:
        if values.dtype == object:
            raise text_error(where, target, values, "the target must be numbers")
        return values.astype(np.float64)
    _check_exact(where, target, values)
    places = {name: label for label, name in enumerate(classes)}
    texts = texts_of(values)
    if unknown := sorted(set(texts) - set(places)):
        listed = ", ".join(classes)
        raise InputError(
            f"{where}: column {target!r} holds {unknown[0]!r}, which is no class of the training part: {quoted(listed)}",
            name=target,
            value=unknown[0],
            allowed=f"one of {listed}",
        )
    return np.asarray([places[text] for text in texts], np.int64)
