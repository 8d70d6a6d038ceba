"""Reading files that may hold anything: first the size, then the content; what goes wrong is one sentence about the file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line

MOST_TEXT = 2**20
"""Bytes of a file of settings, or of one line of a log: far more than any of ours has."""

MOST_JSON = 2**26
"""Bytes of a file of results, or of a whole log."""

_DEEPEST = 64
_LONGEST_MESSAGE = 300


@contextmanager
def reading(path: Path | str, what: str) -> Iterator[None]:
    """Around all code that reads a file: a parser can raise anything, and what it raises becomes an error that names the file.

    Args:
        path: the file, for the message.
        what: what it should be, such as "an ONNX file".

    Raises:
        InputError: for every exception; an InputError from within goes on as it is, so it has to name the file itself.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; {what} is wanted") from error
    except Exception as error:
        why = one_line(error)
        why = f"{why[:_LONGEST_MESSAGE]}…" if len(why) > _LONGEST_MESSAGE else why
        raise InputError(f"{path} is truncated or not {what}: {why}") from error


def check_size(path: Path | str, what: str, size: int, most: int) -> None:
    """Refuse a file, or what it is to become, for its size alone, before any of it is read.

    Raises:
        InputError: more than ``most`` bytes.
    """
    if size > most:
        raise InputError(f"{path} is not {what} of pyro_vd: it has {size:,} bytes, at most {most:,} are allowed")


def read_bytes(path: Path | str, what: str, most: int | None = None) -> bytes:
    """The whole file.

    Raises:
        InputError: it is missing, unreadable, no regular file, or larger than ``most`` bytes, if that is given.
    """
    path = Path(path)
    with reading(path, what):
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file; {what} is wanted")
        if most is not None:
            check_size(path, what, path.stat().st_size, most)
        return path.read_bytes()


def read_text(path: Path | str, what: str, most: int = MOST_TEXT) -> str:
    """The whole file, as UTF-8.

    Raises:
        InputError: see :func:`read_bytes`; or other bytes than UTF-8.
    """
    with reading(path, what):
        return read_bytes(path, what, most).decode("utf-8-sig")


def read_json(path: Path | str, what: str, most: int = MOST_JSON) -> Any:
    """What a JSON file holds; see :func:`plain_json`.

    Raises:
        InputError: it is missing, too large, no JSON, or JSON of a kind that pyro_vd does not write.
    """
    with reading(path, what):
        return plain_json(read_text(path, what, most))


def plain_json(text: str) -> Any:
    """The tree in a JSON text, of dicts, lists, text, truth values, finite numbers and null.

    Raises:
        ValueError: no JSON; a key given twice, NaN or infinity, text that is no Unicode, or more than 64 levels.
    """
    tree = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_once)
    _check_plain(tree, _DEEPEST)
    return tree


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no finite number")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(content := dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
    return content


def _check_plain(tree: Any, levels: int) -> None:
    if levels < 0:
        raise ValueError(f"more than {_DEEPEST} levels")
    if isinstance(tree, str):
        tree.encode()  # half a surrogate pair could not be printed
    elif isinstance(tree, dict):
        for key, value in tree.items():
            key.encode()
            _check_plain(value, levels - 1)
    elif isinstance(tree, list):
        for value in tree:
            _check_plain(value, levels - 1)
