"""Plain trees, from YAML or JSON, against Python's own types: what does not fit is named by its key, with what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import MAPPING, did_you_mean, quoted

_WORDS = {int: "an integer", float: "a finite number", bool: "true or false", str: "text", NoneType: "null", Any: "anything"}


def check_tree(where: str, tree: Any, hint: Any, key: str = "") -> None:
    """Refuse a tree that is not of a type.

    Args:
        where: the file, for messages.
        tree: dicts, lists, text, numbers, truth values and None.
        hint: int (no truth value), float (finite; integers too), str, bool, None, Any, a union, Literal, list, tuple[T, ...],
            Mapping or dict; a dataclass, whose fields with a default may be missing; a TypedDict, which may have more keys.
        key: of the tree in the file.

    Raises:
        InputError: naming the first key that does not fit, its value, and what it must be.
    """
    if is_dataclass(hint) or is_typeddict(hint):
        _check_keys(where, tree, hint, key)
    elif get_origin(hint) in (Union, UnionType):
        _check_union(where, tree, get_args(hint), key)
    elif get_origin(hint) in (list, tuple):
        if not isinstance(tree, list):
            raise _wrong(where, tree, hint, key)
        for index, value in enumerate(tree):
            check_tree(where, value, get_args(hint)[0], _below(key, index))
    elif isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping):
        if not isinstance(tree, dict):
            raise _wrong(where, tree, hint, key)
        for name, value in tree.items():
            check_tree(where, _as_key(name, hint), get_args(hint)[0], _below(key, name))
            check_tree(where, value, get_args(hint)[1], _below(key, name))
        if len({_as_key(name, hint) for name in tree}) < len(tree):
            raise InputError(f"{where}: {key} (={_shown(tree)}) has a key twice")
    elif not _is(tree, hint):
        raise _wrong(where, tree, hint, key)


def typed(where: str, tree: Any, hint: Any) -> Any:
    """What a tree says, as an object of a type: see :func:`check_tree`; dataclasses are made, and tell what they refuse.

    Raises:
        InputError: the tree is of another type, or a value is out of range.
    """
    check_tree(where, tree, hint)
    try:
        return made(tree, hint)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def leaves(hint: Any, key: str = "") -> list[str]:
    """The dotted names of all that a dataclass holds and that is no dataclass itself."""
    if not is_dataclass(hint):
        return [key]
    hints = get_type_hints(hint)
    return [leaf for part in fields(hint) for leaf in leaves(hints[part.name], _below(key, part.name))]


def flat(tree: Any, hint: Any, key: str = "") -> dict[str, Any]:
    """A tree that fits a dataclass as one dict, by the names of :func:`leaves`."""
    if not is_dataclass(hint):
        return {key: tree}
    hints = get_type_hints(hint)
    return {leaf: x for name, value in tree.items() for leaf, x in flat(value, hints[name], _below(key, name)).items()}


def _check_keys(where: str, tree: Any, hint: Any, key: str) -> None:
    if not isinstance(tree, dict):
        raise _wrong(where, tree, hint, key)
    hints = get_type_hints(hint, include_extras=True)
    if is_dataclass(hint):
        needed = {part.name for part in fields(hint) if _has_no_default(part)}
        if unknown := [name for name in tree if name not in hints]:
            given = _below(key, unknown[0])
            full = given + "".join(f".{name}" for name in list(tree[unknown[0]])[:1]) if _is_tree(tree[unknown[0]]) else given
            raise InputError(f"{where}: there is no key {given!r}{did_you_mean(full, leaves(hint, key))}")
    else:
        needed = {name for name, part in hints.items() if get_origin(part) is not NotRequired}
    if missing := [name for name in hints if name in needed and name not in tree]:
        raise InputError(f"{where}: {_below(key, missing[0])!r} is missing")
    for name, value in tree.items():
        if name in hints:
            part = hints[name]
            check_tree(where, value, get_args(part)[0] if get_origin(part) is NotRequired else part, _below(key, name))


def _check_union(where: str, tree: Any, hints: tuple[Any, ...], key: str) -> None:
    for hint in hints:
        try:
            return check_tree(where, tree, hint, key)
        except InputError as error:
            if isinstance(tree, dict | list) and len(hints) == 2 and NoneType in hints and hint is not NoneType:
                raise error  # it says more
    raise _wrong(where, tree, Union[hints], key)  # noqa: UP007


def _as_key(name: Any, hint: Any) -> Any:
    """The name as the hint has it: JSON, and what is printed as JSON would be, has only text for a key."""
    is_number = get_args(hint)[0] is int and isinstance(name, str) and len(name) < 20 and name.isascii() and name.isdigit()
    return int(name) if is_number else name


def _has_no_default(part: Field[Any]) -> bool:
    return part.default is MISSING and part.default_factory is MISSING


def _is(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return any(type(value) is type(allowed) and value == allowed for allowed in get_args(hint))
    if hint is Any:
        return True
    if hint is None:
        return value is None
    if hint is float:
        return type(value) in (int, float) and abs(value) <= 2**1023 and math.isfinite(value)
    return type(value) is hint


def _is_tree(value: Any) -> bool:
    return isinstance(value, dict) and len(value) > 0


def made(tree: Any, hint: Any, key: str = "") -> Any:
    """An object of a type, from a tree that fits it; what a dataclass refuses is named as the tree does, below ``key``.

    Raises:
        InputError: a value is out of range.
    """
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        parts = {name: made(value, hints[name], _below(key, name)) for name, value in tree.items()}
        try:
            return hint(**parts)  # type: ignore[operator]
        except InputError as error:
            raise InputError(_below(key, str(error))) from error
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return tree if tree is None else made(tree, next(part for part in inner if part is not NoneType))
    if origin in (list, tuple):
        return origin(made(value, inner[0]) for value in tree)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_as_key(key, hint): made(value, inner[1]) for key, value in tree.items()}
    return float(tree) if hint is float else tree


def _wrong(where: str, value: Any, hint: Any, key: str) -> InputError:
    shown = _shown(value)
    meant = did_you_mean(value, [text for text in get_args(hint) if isinstance(text, str)]) if isinstance(value, str) else ""
    return InputError(f"{where}: {key or 'the whole'} (={shown}) must be {_words(hint)}{meant}")


def _shown(value: Any) -> str:
    shown = quoted(value)
    return shown[1:].removesuffix(shown[0]) if isinstance(value, str) else shown


def _words(hint: Any) -> str:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(_words(part) for part in get_args(hint))
    if origin is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if origin in (list, tuple):
        return "a list"
    return _WORDS.get(hint, MAPPING)


def _below(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)
