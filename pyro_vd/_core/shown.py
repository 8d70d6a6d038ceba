"""How results show themselves: a line of text, a table in notebooks, plain values, and a table of pandas."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from pyro_vd._core.extras import check_installed

if TYPE_CHECKING:
    from pandas import DataFrame

Row = Mapping[str, Any]
"""A row of a table: values by column."""
T = TypeVar("T")

_MOST = 20  # rows in a notebook


class Shown:
    """The base class of results."""

    @abstractmethod
    def _rows(self) -> Sequence[Row]:
        """The rows of the table that notebooks show."""

    def _notes(self) -> Sequence[str]:
        """Sentences below the table."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values: dictionaries, lists, numbers and text, without tensors and networks."""
        plain: dict[str, Any] = as_plain(self)
        return plain

    def to_frame(self) -> DataFrame:
        """Return the table as a ``DataFrame``.

        Raises:
            MissingPackageError: the extra ``tables`` is not installed.
        """
        check_installed("to_frame", "pandas")
        import pandas as pd

        return pd.DataFrame([dict(row) for row in self._rows()])

    def _repr_html_(self) -> str:
        rows = self._rows()
        left = [f"{len(rows):,} rows, of which the last {_MOST} are shown."] if len(rows) > _MOST else []
        title = f"{type(self).__name__}"
        return html_table(title, rows[-_MOST:], [*left, *self._notes()])


class Table(Shown, list[T]):
    """A list of results of one kind, which notebooks show as a table with a row for each."""

    def _rows(self) -> Sequence[Row]:
        return [flat(as_plain(each)) for each in self]

    def to_dict(self) -> dict[str, Any]:
        """Return the columns as lists, by name."""
        rows = self._rows()
        return {name: [row.get(name) for row in rows] for name in _columns(rows)}


def as_plain(value: Any) -> Any:
    """Return a value as dictionaries, lists, numbers and text; fields with tensors and networks are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {part.name: getattr(value, part.name) for part in fields(value)}
        return {name: as_plain(each) for name, each in found.items() if not isinstance(each, Tensor | nn.Module)}
    if isinstance(value, Mapping):
        return {key: as_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(each) for each in value]
    return value


def flat(tree: Row, above: str = "") -> dict[str, Any]:
    """Return the values of nested dictionaries by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return found


def html_table(title: str, rows: Sequence[Row], notes: Iterable[str] = ()) -> str:
    """Return a table as HTML, with a caption above it and sentences below; every text is escaped."""
    columns = _columns(rows)
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell(row.get(name)))}</td>' for name in columns)}</tr>" for row in rows)
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    table = f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div>{table}{below}</div>"


def cell(value: Any) -> str:
    """Return a value as text for a cell: four digits of a number, separators of thousands, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ", ".join(map(cell, value)) if isinstance(value, list | tuple) else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if math.isfinite(value) and abs(value) >= 1000 else f"{value:.4g}".replace("inf", "∞")


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
