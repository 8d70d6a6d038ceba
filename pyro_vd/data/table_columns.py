"""Columns of a table as features: numbers, zeros and ones, and one feature for each text that a column of categories holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import must_be_one_of, quoted, some_of
from pyro_vd.data.single_precision import merged_column

logger: logging.Logger = logging.getLogger(__name__)

MOST_CATEGORIES = 100
"""The most different texts in a column of categories; columns of more are rather names, dates or identifiers."""

_TYPES = "numbers, truth values, text or categories"


def column(where: str, frame: Any, name: str) -> Any:
    """A column of a table.

    Raises:
        InputError: there is none of this name, or values in it are missing.
    """
    names = list(frame.columns)
    if name not in names:
        message = f"{where}: {must_be_one_of('column', name, names)}"
        raise InputError(message, name="column", value=name, allowed=f"one of {', '.join(names)}")
    found = frame[name]
    missing = np.asarray(found.isna(), bool)
    if missing.any():
        first = _row(found, missing)
        raise InputError(
            f"{where}: column {name!r} lacks {int(missing.sum())} of {len(found)} values, the first in row {first}; fill them "
            "in, or leave these rows or the column out (drop; in a recipe, data.drop)",
            name=name,
            value=int(missing.sum()),
            allowed="a value in each row",
        )
    return found


def _row(series: Any, chosen: np.ndarray) -> int:
    """The number in the file, from 1 below the names, of the first chosen row of a part of a table."""
    return int(series.index[int(chosen.argmax())]) + 1


def values_of(where: str, series: Any) -> np.ndarray:
    """The values of a column: numbers as float64, truth values as booleans, texts and categories as text.

    Raises:
        InputError: values of another type, or numbers that are not finite or that float32 cannot tell apart.
    """
    import pandas as pd

    kind = pd.api.types.infer_dtype(series, skipna=False)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return np.asarray([str(value) for value in series], object)
    if kind == "boolean":
        return np.asarray(series, bool)
    if kind == "string":
        return np.asarray(series, object)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return _numbers(where, series)
    allowed = f"{_TYPES}; leave the column out, or make numbers or text of it"
    message = f"{where}: column {series.name!r} is of type {_type_name(series, kind)}; it must hold {allowed}"
    raise InputError(message, name=str(series.name), value=kind, allowed=_TYPES)


def _type_name(series: Any, kind: str) -> str:
    return f"{series.dtype} ({kind}, such as {quoted(series.iloc[0])})"


def _numbers(where: str, series: Any) -> np.ndarray:
    """Numbers as float64, as exact as float32 inputs must be."""
    values = np.asarray(series, np.float64)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        broken = ~np.isfinite(single)
        value = float(values[broken][0])
        largest = float(np.finfo(np.float32).max)
        raise InputError(
            f"{where}: column {series.name!r} holds {value} in row {_row(series, broken)}; numbers must be finite, and at most "
            f"{largest:.2g} in size",
            name=str(series.name),
            value=value,
            allowed=f"finite numbers of at most {largest:.2g}",
        )
    if merged_column(values[:, None]) is not None or (series.nunique() > 1 and len(np.unique(single)) == 1):
        raise InputError(
            f"{where}: column {series.name!r} holds numbers near {values[0]:.12g} that differ by about {values.std():.3g}, "
            "which the 7 digits of float32 cannot tell apart; subtract a number from all of them, or leave the column out",
            name=str(series.name),
            value=float(values[0]),
            allowed="numbers whose differences show in 7 digits",
        )
    return values


def feature_names(where: str, frame: Any) -> tuple[str, ...]:
    """The names of the features of a table: that of a column, and ``column=text`` for each text of one of categories.

    Raises:
        InputError: a column that is refused, see :func:`values_of`; or one of text with too many different ones, or with ``=``
            in its name.
    """
    names: list[str] = []
    for name in frame.columns:
        values = values_of(where, column(where, frame, name))
        if values.dtype != object:
            names.append(name)
            continue
        categories = sorted(set(values))
        among_numbers = _texts_among_numbers(frame[name], values)
        if len(categories) > MOST_CATEGORIES:
            example = f": {among_numbers}" if among_numbers else f", such as {quoted(categories[0])}"
            prose = ". To learn from the words of texts, write .jsonl files, which the recipe 'text' reads"
            raise InputError(
                f"{where}: column {name!r} holds {len(categories)} different texts{example}; at most "
                f"{MOST_CATEGORIES} are read as categories. Leave the column out (drop; in a recipe, data.drop), or make "
                f"numbers or fewer categories of it{prose if len(categories[0].split()) > 3 else ''}",
                name=name,
                value=len(categories),
                allowed=f"at most {MOST_CATEGORIES} different texts",
            )
        if "=" in name:
            message = f"{where}: column {name!r} of text must have a name without '=', which its features column=text have"
            raise InputError(message, name=name, value=name, allowed="a name without '='")
        if same := [other for other in frame.columns if other.startswith(f"{name}=")]:
            message = f"{where}: column {same[0]!r} has a name as the features of column {name!r}, which holds text; rename one"
            raise InputError(message, name=same[0], value=same[0], allowed=f"a name that does not begin with {name}=")
        if among_numbers:
            logger.warning("%s: column %r is read as categories: it holds %s", where, name, among_numbers)
        names += [f"{name}={category}" for category in categories]
    return tuple(names)


def _texts_among_numbers(series: Any, values: np.ndarray) -> str:
    """What is text in a column whose other values, more than half of them, are numbers; empty for all other columns."""
    import pandas as pd

    texts = np.asarray(pd.to_numeric(pd.Series(values), errors="coerce").isna(), bool)
    if not 0 < texts.sum() < len(values) / 2:
        return ""
    return f"numbers, but {quoted(values[texts.argmax()])} in row {_row(series, texts)}"


def text_columns(features: Sequence[str]) -> set[str]:
    """The names of the columns of text among those that features, as :func:`feature_names` gives them, come from."""
    return {name for name, equals, _ in (feature.partition("=") for feature in features) if equals} - set(features)


def features_in(where: str, frame: Any, features: Sequence[str]) -> np.ndarray:
    """The features of each row of a table, ``(n, features)`` as float32; other columns are not read.

    A text that has no feature, because the training part lacks it, has a zero in all features of its column, with a message.

    Args:
        where: the file, for messages.
        frame: the table.
        features: names as :func:`feature_names` gives them.

    Raises:
        InputError: a column is missing or refused, or holds text where numbers are needed.
    """
    made = np.zeros((len(frame), len(features)), np.float32)
    places: dict[str, dict[str, int]] = {}
    for place, feature in enumerate(features):
        name, equals, category = feature.partition("=")
        if equals and feature not in frame.columns:
            places.setdefault(name, {})[category] = place
            continue
        values = values_of(where, column(where, frame, feature))
        if values.dtype == object:
            raise text_error(where, feature, values, "it must hold numbers")
        made[:, place] = values
    for name, known in places.items():
        texts = texts_of(values_of(where, column(where, frame, name)))
        found = np.asarray([known.get(text, -1) for text in texts])
        rows = (found >= 0).nonzero()[0]
        made[rows, found[rows]] = 1
        if unknown := sorted({text for text, place in zip(texts, found, strict=True) if place < 0}):
            rest = some_of("unknown texts", [repr(text) for text in unknown])
            logger.warning("%s: column %r holds %s; there its features are all 0", where, name, rest)
    return made


def text_error(where: str, name: str, values: np.ndarray, needed: str) -> InputError:
    """The error for a column of text where numbers are needed, as ``needed`` says."""
    message = f"{where}: column {name!r} holds text, such as {quoted(values[0])}; {needed}"
    return InputError(message, name=name, value=values[0], allowed="numbers")


def texts_of(values: np.ndarray) -> list[str]:
    """Values of a column as text: whole numbers without a point."""
    if values.dtype == np.float64:
        return [str(int(value)) if value.is_integer() else str(value) for value in values.tolist()]
    return [str(value) for value in values.tolist()]
