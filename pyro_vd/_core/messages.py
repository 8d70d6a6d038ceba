"""Parts of messages, each on one line: quoted values, shortened lists, and suggestions of similar names."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MAPPING = "keys and values, {key: value, …}"
"""The words for a dict in an error."""

_NAMED = 3
"""Number of names that :func:`some_of` lists."""


def one_line(error: BaseException | str) -> str:
    """Return the message without line breaks, or the error's type if it has no message."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def some_of(kind: str, names: Sequence[str]) -> str:
    """Return ``kind (first, second, third and 4 more)``, or ``kind (7 times)`` if the names are empty."""
    if not any(names):
        return kind if len(names) == 1 else f"{kind} ({len(names)} times)"
    more = len(names) - _NAMED
    return f"{kind} ({', '.join(names[:_NAMED])}{f' and {more} more' if more > 0 else ''})"


class _Repr(reprlib.Repr):
    """Shortened repr of long or deep values, with tensors and arrays by their shape."""

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
    """Return the value as text for an error, on one line of at most ``most`` characters; its type if repr fails."""
    try:
        text = " ".join(_REPR.repr(value).split())
    except Exception:  # a foreign ``__repr__`` can raise anything
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def type_name(dtype: torch.dtype) -> str:
    """Return the name of a type of numbers, such as ``float32``."""
    return str(dtype).removeprefix("torch.")


def first_line(error: BaseException) -> str:
    """Return the first line of an error, or its type where it has no text."""
    return one_line(str(error).partition("\n")[0] or error)


def examples_of_shape(shape: tuple[int, ...]) -> str:
    """Return the shape of n examples, each of this shape, such as ``(n, 3)`` or ``(n,)``."""
    return f"({', '.join(map(str, ('n', *shape)))}{'' if shape else ','})"


def did_you_mean(given: object, allowed: Iterable[str]) -> str:
    """Return the end of a message that suggests the allowed name most similar to ``given``; empty if none is similar."""
    by_lower = {name.lower(): name for name in allowed}
    text = given.lower() if isinstance(given, str) else ""
    return "".join(f"; did you mean {by_lower[name]!r}?" for name in get_close_matches(text, by_lower, n=1))


def shown(value: object) -> str:
    """Return the value as :func:`quoted` does, but text of up to 400 characters completely, because it may be a path."""
    return repr(value) if isinstance(value, str) and len(value) <= 400 else quoted(value)


def must_be_one_of(what: str, given: object, allowed: Collection[str], or_else: str = "") -> str:
    """Return ``what (=given) must be one of …``, with a suggestion of a similar name."""
    return f"{what} (={shown(given)}) must be one of {', '.join(allowed)}{or_else}{did_you_mean(given, allowed)}"
