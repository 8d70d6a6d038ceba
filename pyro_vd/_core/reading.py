"""Reading of untrusted files: first the size is checked, then the content; every failure is an error about the file."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line

MOST_TEXT = 2**20
"""Largest size in bytes of a file of settings or of one line of a log, far more than pyro_vd writes."""

MOST_JSON, MOST_LOG = 2**23, 2**26
"""Largest sizes in bytes of a file of results and of a whole log; lists in JSON take 20 times their text in memory."""

MOST_HEADER = 2**24
"""Largest size in bytes of the header of a safetensors file, of more than 100,000 tensors."""

DEEPEST = 64
"""The most levels of JSON and of a checkpoint, far more than pyro_vd writes."""

_LONGEST_MESSAGE = 300


@contextmanager
def reading(path: Path | str, what: str) -> Iterator[None]:
    """Context manager around code that reads a file: any exception of a parser becomes an error that names the file.

    Args:
        path: the file, for the message.
        what: what the file should be, such as "an ONNX file".

    Raises:
        InputError: for any exception. An InputError from inside stays, with the file before its message if that lacks it.
    """
    try:
        yield
    except InputError as error:
        if str(path) not in str(error):
            error.args = (f"{path}: {error}",)
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; give the path of {what}", name=str(path), allowed=what) from error
    except Exception as error:
        why = one_line(error)
        why = f"{why[:_LONGEST_MESSAGE]}…" if len(why) > _LONGEST_MESSAGE else why
        raise InputError(f"{path} is truncated or not {what}: {why}", name=str(path), allowed=what) from error


def check_size(path: Path | str, what: str, size: int, most: int) -> None:
    """Refuse a file that is too large, before it is read or written.

    Raises:
        InputError: more than ``most`` bytes.
    """
    if size > most:
        message = f"{path} is not {what} of pyro_vd: it has {size:,} bytes, at most {most:,} are allowed"
        raise InputError(message, name=str(path), value=size, allowed=f"at most {most} bytes")


def most_unpacked(size: int) -> int:
    """Return how many bytes the arrays of a file may take: 256 MB, or 100 times the ``size`` of the file if that is more."""
    return max(2**28, 100 * size)


def check_regular(path: Path, what: str) -> None:
    """Refuse a path at which something else than a file is: a pipe, for example, would be read for ever.

    Raises:
        InputError: it is a folder, a pipe or a device.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file; give the path of {what}", name=str(path), allowed=what)


def check_unpacked(path: Path, size: int) -> None:
    """Refuse a file whose content would take far more memory than the file has bytes; see :func:`most_unpacked`.

    Raises:
        InputError: more than is allowed.
    """
    if size > (most := most_unpacked(path.stat().st_size)):
        message = f"{path} would take {size:,} bytes; for a file of this size at most {most:,} are allowed"
        raise InputError(message, name=str(path), value=size, allowed=f"at most {most} bytes")


def read_bytes(path: Path | str, what: str, most: int | None = None) -> bytes:
    """Read a whole file.

    Raises:
        InputError: the file is missing, unreadable, not a regular file, or larger than ``most`` bytes.
    """
    path = Path(path)
    with reading(path, what):
        check_regular(path, what)
        if most is not None:
            check_size(path, what, path.stat().st_size, most)
        return path.read_bytes()


def read_text(path: Path | str, what: str, most: int = MOST_TEXT) -> str:
    """Read a whole file of UTF-8 text.

    Raises:
        InputError: see :func:`read_bytes`; or the content is not UTF-8.
    """
    with reading(path, what):
        return read_bytes(path, what, most).decode("utf-8-sig")


def read_lines(path: Path | str, what: str) -> Iterator[tuple[str, str]]:
    """Read a log line by line, each as where it is, for messages, and its text without the end of the line.

    Raises:
        InputError: see :func:`read_text`; or a line is too long.
    """
    with reading(path, what):
        for number, line in enumerate(io.BytesIO(read_bytes(path, what, MOST_LOG)), 1):
            check_size(path, "a log", len(line), MOST_TEXT)
            yield f"{path}, line {number}", line.decode().rstrip("\n")


def read_json(path: Path | str, what: str, most: int = MOST_JSON) -> Any:
    """Read a JSON file; see :func:`plain_json`.

    Raises:
        InputError: the file is missing, too large, not JSON, or JSON that pyro_vd does not write.
    """
    with reading(path, what):
        return plain_json(read_text(path, what, most))


def plain_json(text: str) -> Any:
    """Parse JSON into dicts, lists, text, truth values, finite numbers and None.

    Raises:
        ValueError: the text is not JSON, or has a duplicate key, NaN or infinity, invalid Unicode, or more than 64 levels.
    """
    tree = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_once)
    _check_plain(tree, DEEPEST)
    return tree


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(content := dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
    return content


def _check_plain(tree: Any, levels: int) -> None:
    if levels < 0:
        raise ValueError(f"more than {DEEPEST} levels")
    if isinstance(tree, str):
        tree.encode()  # half a surrogate pair could not be printed
    elif isinstance(tree, dict):
        for key, value in tree.items():
            key.encode()
            _check_plain(value, levels - 1)
    elif isinstance(tree, list):
        for value in tree:
            _check_plain(value, levels - 1)
