"""Help texts from dataclasses of settings: every key with its types, its default and its docstring."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Literal

from pyro_vd._core.schema import below, field_hints, key_of
from pyro_vd._core.tagged import is_tagged


@dataclass(frozen=True)
class Setting:
    """A field of a dataclass of settings, within the tree of all settings."""

    key: str
    """Dotted name of the field."""
    hints: tuple[Any, ...]
    """Types of its value; several if dataclasses of different kinds have a field of this name."""
    help: str
    """Its docstring and its default."""


@dataclass(frozen=True)
class Section:
    """The settings of one dataclass, without those of dataclasses inside it."""

    key: str
    title: str
    settings: tuple[Setting, ...]


def sections(hint: Any, key: str = "", title: str = "") -> Iterator[Section]:
    """Yield the section of a dataclass of settings, then those of the dataclasses inside it.

    Args:
        hint: the dataclass, or a :class:`~pyro_vd._core.tagged.TaggedUnion`.
        key: dotted name of the dataclass.
        title: title of the section, by default the first line of the docstring.
    """
    title = (title or _first_line(hint)).removesuffix(".")
    if is_tagged(hint):
        yield Section(key, title, tuple(_tagged_settings(hint, key)))
        return
    hints, docs = field_hints(hint), _field_docs(hint)
    parts = {key_of(part.name): part for part in fields(hint)}
    own = {name: part for name, part in parts.items() if not _is_section(hints[name])}
    yield Section(key, title, tuple(_setting(below(key, name), hints[name], _text(part, docs)) for name, part in own.items()))
    for name, part in parts.items():
        if _is_section(hints[name]):
            yield from sections(hints[name], below(key, name), docs.get(part.name, ""))


def _is_section(hint: Any) -> bool:
    return is_dataclass(hint) or is_tagged(hint)


def _setting(key: str, hint: Any, text: str) -> Setting:
    return Setting(key, (hint,), text)


def _tagged_settings(hint: Any, key: str) -> Iterator[Setting]:
    """Yield the key ``kind``, then each other key once, with its documentation for each kind that has it."""
    listed = " ".join(f"{name}: {_first_line(kind)}" for name, kind in hint.kinds.items())
    yield _setting(below(key, "kind"), Literal.__getitem__(tuple(hint.kinds)), f"{listed} (default: {next(iter(hint.kinds))})")
    found: dict[str, dict[str, list[str]]] = {}
    hints: dict[str, list[Any]] = {}
    for name, kind in hint.kinds.items():
        types, docs = field_hints(kind), _field_docs(kind)
        for part in fields(kind):
            if part.init:
                found.setdefault(own := key_of(part.name), {}).setdefault(_text(part, docs), []).append(name)
                hints.setdefault(own, []).append(types[own])
    for field_name, texts in found.items():
        text = " ".join(f"{', '.join(names)}: {text}" for text, names in texts.items())
        yield Setting(below(key, field_name), tuple(hints[field_name]), text)


def _text(part: Field[Any], docs: dict[str, str]) -> str:
    default = part.default if part.default_factory is MISSING else part.default_factory()
    shown = default if isinstance(default, str) else json.dumps(default)
    return f"{docs.get(part.name, '')} (default: {shown})"


def _first_line(hint: Any) -> str:
    return (inspect.getdoc(hint) or "").partition("\n")[0].replace("``", "")


@cache
def _field_docs(cls: type[object]) -> dict[str, str]:
    """Return the docstrings below the fields of a class and its base classes, by field; empty without source code."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        try:
            (tree,) = ast.parse(inspect.cleandoc(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError):  # a class without a source file, or one of Python
            continue
        for field, text in pairwise(getattr(tree, "body", ())):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                docs[ast.unparse(field.target)] = " ".join(str(text.value.value).replace("``", "").split())
    return docs
