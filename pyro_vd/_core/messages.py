"""Parts of messages, each in one line: values as they are quoted, lists cut short, names that may be meant."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

MAPPING = "keys and values, {key: value, …}"
"""What a value must be where a dict is wanted."""

_NAMED = 3
"""How many of one kind :func:`some_of` names."""


def one_line(error: BaseException | str) -> str:
    """The message without line breaks; the error's type where it has none."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def some_of(kind: str, names: Sequence[str]) -> str:
    """``kind (first, second, third and 4 more)``; of what has no names how many there are, ``kind (7 times)``."""
    if not any(names):
        return kind if len(names) == 1 else f"{kind} ({len(names)} times)"
    more = len(names) - _NAMED
    return f"{kind} ({', '.join(names[:_NAMED])}{f' and {more} more' if more > 0 else ''})"


class _Repr(reprlib.Repr):
    """Writes no more of a long or deep value than an error shows, and tensors and arrays by their shape."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 4, 1000, 1000, 1000
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = self.maxdeque = self.maxarray = 20

    def repr_int(self, x: int, level: int) -> str:
        try:
            return repr(x)
        except ValueError:
            return "an integer of thousands of digits"

    def repr_instance(self, x: Any, level: int) -> str:
        if getattr(x, "ndim", 0) and hasattr(x, "requires_grad"):
            return f"a tensor of shape {tuple(x.shape)}"
        return repr(x)


_REPR = _Repr()


def quoted(value: object, most: int = 80) -> str:
    """The value as an error quotes it: on one line, cut where it is long; its type where it cannot be written."""
    try:
        text = " ".join(_REPR.repr(value).split())
    except Exception:  # whatever a foreign ``__repr__`` does
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def did_you_mean(given: object, allowed: Iterable[str]) -> str:
    """The end of a message: the allowed name that is close to what was given, in any case; nothing where none is."""
    by_lower = {name.lower(): name for name in allowed}
    text = given.lower() if isinstance(given, str) else ""
    return "".join(f"; did you mean {by_lower[name]!r}?" for name in get_close_matches(text, by_lower, n=1))


def shown(value: object) -> str:
    """The value as :func:`quoted` has it, but text of up to 400 characters to its end: it may be a path."""
    return repr(value) if isinstance(value, str) and len(value) <= 400 else quoted(value)


def must_be_one_of(what: str, given: object, allowed: Collection[str], or_else: str = "") -> str:
    """``what (=given) must be one of`` the allowed names, or something else, and which one may be meant."""
    return f"{what} (={shown(given)}) must be one of {', '.join(allowed)}{or_else}{did_you_mean(given, allowed)}"
