"""Tables in files, as they are read: ``.csv`` and ``.parquet``, with columns that have one name each."""

from __future__ import annotations

import csv
import logging
import warnings
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd._core.messages import quoted
from pyro_vd._core.reading import check_regular, check_unpacked, reading
from pyro_vd._core.trial import try_to_read

logger: logging.Logger = logging.getLogger(__name__)

SUFFIXES = (".csv", ".parquet")
"""The endings of the names of tables."""

_MOST_COLUMNS = 2**16
"""The most columns of a table; pandas takes seconds for so many."""

_PARQUET_CHECK = Path(__file__).with_name("parquet_check.py")

_SEPARATORS = ";\t|"
"""What may separate the columns of a file in which no comma does."""


def is_table(path: Path) -> bool:
    """Whether a path is that of a table, by its name."""
    return path.suffix.lower() in SUFFIXES


def read_frame(path: Path, text: Collection[str] = ()) -> Any:
    """Read a table as a ``pandas.DataFrame`` with names of columns that are text; a column of row numbers is left out.

    Args:
        path: the file.
        text: names of columns that hold text, which a ``.csv`` does not say: without it, a column that holds ``01`` in each row
            of one file, and other texts in another file, is one of numbers in the first.

    Raises:
        InputError: pandas, or pyarrow for ``.parquet``, is not installed; the file is missing, broken, not in UTF-8, or has no
            rows; or a column has no name, or the name of another one.
    """
    is_csv = path.suffix.lower() == ".csv"
    check_installed("a table", "pandas", *(() if is_csv else ("pyarrow",)))
    frame = _csv(path, text) if is_csv else _parquet(path)
    frame.columns = [str(name) for name in frame.columns]
    _check_names(path, list(frame.columns))
    if frame.shape[0] == 0:
        raise InputError(f"{path} has no rows below the names of its columns", name=str(path), value=0, allowed="a row or more")
    return frame


def _csv(path: Path, text: Collection[str]) -> Any:
    import pandas as pd

    what = "a table: text in UTF-8 whose columns are separated by commas, with their names in the first line"
    with reading(path, what):
        check_regular(path, what)
        names = _first_line(path)
        _check_count(path, len(names))
        if len(names) == 1 and (found := [mark for mark in _SEPARATORS if mark in names[0]]):
            raise InputError(
                f"{path} has the one column {names[0]!r}: its columns seem to be separated by {found[0]!r}; a comma must "
                f"separate them. pandas.read_csv(…, sep={found[0]!r}) reads it, and to_csv(…, index=False) writes commas",
                name=str(path),
                value=found[0],
                allowed="a comma between columns",
            )
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more cells than there are names
            options: Any = {"encoding": "utf-8-sig", "index_col": False, "low_memory": False}
            options["dtype"] = {place: str for place, name in enumerate(names) if name in text}
            frame = pd.read_csv(path, header=0, names=range(len(names)), **options)
    _check_header(path, names)
    frame.columns = names
    return _without_row_numbers(path, frame)


def _first_line(path: Path) -> list[str]:
    """The names in the first line; the rest of the text is decoded too.

    Raises:
        InputError: the file is not in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next((row for row in csv.reader(file) if len(row) > 1 or any(map(str.strip, row))), [])  # as pandas does
            while file.read(2**20):
                pass
    except UnicodeDecodeError as error:
        message = (
            f"{path} holds the byte 0x{error.object[error.start]:02x}, which is not text in UTF-8; save the table in UTF-8"
        )
        raise InputError(message, name=str(path), value=error.encoding, allowed="text in UTF-8") from error
    return names


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(path, what := "a table in the format Parquet"):
        check_regular(path, what)
        about, schema = pq.read_metadata(path), pq.read_schema(path)
        _check_count(path, about.num_columns)
        check_unpacked(path, size := 8 * about.num_rows * about.num_columns)
        try_to_read(path, _PARQUET_CHECK)
        from pyro_vd.data.parquet_check import parts

        read = []
        for part in parts(path):
            read.append(part)
            check_unpacked(path, size := size + sum(map(_size, part.columns)))
        table = pa.Table.from_batches(read, read[0].schema) if read else schema.empty_table()
        return table.cast(schema).to_pandas().reset_index(drop=True)  # so that its rows are counted in messages


def _size(column: Any) -> int:
    """The bytes of a column whose texts are not shared."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from pyro_vd.data.parquet_check import is_text

    if not pa.types.is_dictionary(column.type) or not is_text(column.type.value_type):
        return int(column.nbytes)
    return int(pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0)


def _check_count(path: Path, columns: int) -> None:
    if columns > _MOST_COLUMNS:
        message = f"{path} has {columns:,} columns; at most {_MOST_COLUMNS:,} are allowed"
        raise InputError(message, name=str(path), value=columns, allowed=f"at most {_MOST_COLUMNS} columns")


def _without_row_numbers(path: Path, frame: Any) -> Any:
    """The table without a first column that has no name and counts the rows, as pandas writes its index."""
    if frame.shape[1] > 1 and frame.columns[0] == "" and list(frame.iloc[:, 0]) == list(range(len(frame))):
        logger.warning("%s: the first column has no name and counts the rows; it is left out", path)
        return frame.iloc[:, 1:]
    return frame


def _check_header(path: Path, names: list[str]) -> None:
    """Refuse a first line of numbers, unless it counts the columns, as that of an array in pandas does."""
    given = [name for name in names if name]
    if given and all(map(_is_number, given)) and given != [str(number) for number in range(len(given))]:
        raise InputError(
            f"{path}: the first line holds the numbers {quoted(', '.join(given))}; it must hold the names of the columns",
            name=str(path),
            value=given,
            allowed="names of columns",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_names(path: Path, names: list[str]) -> None:
    if "" in names:
        number = names.index("") + 1
        message = f"{path}: column {number} has no name; each must have one in the first line"
        raise InputError(message, name=str(path), value=number, allowed="a name for each column")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        message = f"{path} has several columns {twice[0]!r}; each must have a name of its own"
        raise InputError(message, name=str(path), value=twice, allowed="one column per name")
