"""Checks of plain trees (from YAML, JSON or the command line) against Python types.

Errors name the key that does not fit, its value, and what is allowed.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import MAPPING, did_you_mean, quoted
from pyro_vd._core.tagged import TaggedUnion, is_tagged, long_form

_WORDS = {int: "an integer", float: "a finite number", bool: "true or false", str: "text", NoneType: "null", Any: "anything"}


def check_tree(where: str, tree: Any, hint: Any, key: str = "") -> None:
    """Refuse a tree that does not fit a type.

    Args:
        where: the file, for messages; empty if the tree is not from a file.
        tree: dicts, lists, text, numbers, truth values and None.
        hint: int (without bool), float (finite, or an integer that it holds), str, bool, None, Any, a union, Literal, list,
            tuple[T, ...], Mapping or dict; a dataclass, whose fields with a default may be missing; a :class:`TaggedUnion`;
            or a TypedDict, where additional keys are allowed.
        key: the dotted key of the tree in the file.

    Raises:
        InputError: naming the first key that does not fit, its value, and what it must be.
    """
    if is_tagged(hint):
        _check_kind(where, tree, hint, key)
    elif is_dataclass(hint) or is_typeddict(hint):
        _check_keys(where, tree, hint, key)
    elif get_origin(hint) in (Union, UnionType):
        _check_union(where, tree, get_args(hint), key)
    elif get_origin(hint) in (list, tuple):
        if not isinstance(tree, list):
            raise _wrong(where, tree, hint, key)
        for index, value in enumerate(tree):
            check_tree(where, value, get_args(hint)[0], below(key, index))
    elif isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping):
        if not isinstance(tree, dict):
            raise _wrong(where, tree, hint, key)
        for name, value in tree.items():
            check_tree(where, as_key(name, hint), get_args(hint)[0], below(key, name))
            check_tree(where, value, get_args(hint)[1], below(key, name))
        if len({as_key(name, hint) for name in tree}) < len(tree):
            raise error_in(
                where, f"{key} (={_shown(tree)}) has a key twice", name=key, value=tree, allowed="without duplicate keys"
            )
    elif not _is(tree, hint):
        raise _wrong(where, tree, hint, key)


def leaves(hint: Any, key: str = "") -> list[str]:
    """Return the dotted names of all fields inside a dataclass, or inside all kinds, that are not dataclasses themselves."""
    if is_tagged(hint):
        return list(dict.fromkeys(leaf for kind in hint.kinds.values() for leaf in leaves(kind, key)))
    if not is_dataclass(hint):
        return [key]
    return [leaf for name, part in field_hints(hint).items() for leaf in leaves(part, below(key, name))]


def key_of(field_name: str) -> str:
    """Return the key of a field in a tree: its name, but ``class`` for ``class_``, because Python reserves such words."""
    word = field_name.removesuffix("_")
    return word if keyword.iskeyword(word) else field_name


def field_hints(hint: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields by key."""
    hints = get_type_hints(hint)
    return {key_of(part.name): hints[part.name] for part in fields(hint)}


def _check_keys(where: str, tree: Any, hint: Any, key: str) -> None:
    if not isinstance(tree, dict):
        raise _wrong(where, tree, hint, key)
    if is_dataclass(hint):
        hints = field_hints(hint)
        needed = {key_of(part.name) for part in fields(hint) if _has_no_default(part)}
        if unknown := [name for name in tree if name not in hints]:
            given = below(key, unknown[0])
            full = given + "".join(f".{name}" for name in list(tree[unknown[0]])[:1]) if _is_tree(tree[unknown[0]]) else given
            elsewhere = _kinds_with(hint, unknown[0])
            message = f"there is no key {quoted(given)}{elsewhere or did_you_mean(full, leaves(hint, key))}"
            raise error_in(where, message, name=given, value=tree[unknown[0]], allowed=f"one of {', '.join(hints)}")
    else:
        hints = get_type_hints(hint, include_extras=True)
        needed = {name for name, part in hints.items() if get_origin(part) is not NotRequired}
    if missing := [name for name in hints if name in needed and name not in tree]:
        raise error_in(where, f"{quoted(below(key, missing[0]))} is missing", name=below(key, missing[0]), allowed="given")
    for name, value in tree.items():
        if name in hints:
            part = hints[name]
            check_tree(where, value, get_args(part)[0] if get_origin(part) is NotRequired else part, below(key, name))


def _check_kind(where: str, tree: Any, hint: type[TaggedUnion], key: str) -> None:
    if not isinstance(tree := long_form(tree), dict):
        raise _wrong(where, tree, hint, key)
    kind = hint.kind_of(tree)
    if not isinstance(kind, str) or kind not in hint.kinds:
        allowed = f"one of {', '.join(map(repr, hint.kinds))}"
        raise _refusal(where, below(key, "kind"), kind, allowed, did_you_mean(kind, hint.kinds))
    _check_keys(where, tree, hint.kinds[kind], key)


def _kinds_with(hint: Any, name: Any) -> str:
    """Return the end of a message that lists the other kinds with a field of this name; empty if there are none."""
    if not issubclass(hint, TaggedUnion):
        return ""
    found = [kind for kind, part in hint.kinds.items() if name in field_hints(part)]
    return f" of the kind {hint.kind!r}; it is for {', '.join(found)}" if found else ""


def _check_union(where: str, tree: Any, hints: tuple[Any, ...], key: str) -> None:
    for hint in hints:
        try:
            return check_tree(where, tree, hint, key)
        except InputError as error:
            if (error.name, error.allowed) != (key, words(hint)) and len(hints) == 2 and NoneType in hints:
                raise error  # it is about a part of the tree
    raise _wrong(where, tree, Union[hints], key)  # noqa: UP007


def as_key(name: Any, hint: Any) -> Any:
    """Return a key as its type: JSON has only text as keys, so digits are an integer if the hint has integer keys."""
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
        is_number = type(value) in (int, float) and abs(value) <= 2**1023 and math.isfinite(value)
        return is_number and float(value) == value  # 10**30 would become another number
    return type(value) is hint


def _is_tree(value: Any) -> bool:
    return isinstance(value, dict) and len(value) > 0


def _wrong(where: str, value: Any, hint: Any, key: str) -> InputError:
    meant = did_you_mean(value, [text for text in get_args(hint) if isinstance(text, str)]) if isinstance(value, str) else ""
    if hint is float and type(value) is int:
        return _refusal(where, key, value, f"{words(hint)}, and an integer only if a float is exactly that")
    return _refusal(where, key, value, words(hint), meant)


def error_in(where: str, text: str, **parts: Any) -> InputError:
    """Return an error whose message starts with the file ``where``, if any; ``parts`` are the fields of the error."""
    return InputError(f"{where}: {text}" if where else text, **parts)


def _refusal(where: str, key: str, value: Any, allowed: str, hint: str = "") -> InputError:
    text = f"{key or 'the whole'} (={_shown(value)}) must be {allowed}{hint}"
    return error_in(where, text, name=key, value=value, allowed=allowed)


def _shown(value: Any) -> str:
    shown = quoted(value)
    return shown[1:].removesuffix(shown[0]) if isinstance(value, str) else shown


def words(hint: Any) -> str:
    """Return what a value of a type must be, in words, such as "an integer or null"."""
    origin = get_origin(hint)
    if is_tagged(hint):
        return f"one of {', '.join(map(repr, hint.kinds))}, or {MAPPING}"
    if origin in (Union, UnionType):
        return " or ".join(words(part) for part in get_args(hint))
    if origin is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if origin in (list, tuple):
        return "a list"
    return _WORDS.get(hint, MAPPING)


def below(key: str, name: object) -> str:
    """Return the dotted name of a part of ``key``."""
    return f"{key}.{name}" if key else str(name)
