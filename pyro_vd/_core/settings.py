"""Conversion of plain trees, such as settings, to dataclasses, and merging of trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pyro_vd._core.errors import InputError
from pyro_vd._core.schema import as_key, below, check_tree, field_hints, key_of
from pyro_vd._core.tagged import is_tagged, long_form


def typed(where: str, tree: Any, hint: Any) -> Any:
    """Convert a tree to an object of a type.

    Args:
        where: the file, for messages.
        tree: a plain tree; see :func:`~pyro_vd._core.schema.check_tree`.
        hint: the type; see :func:`~pyro_vd._core.schema.check_tree`.

    Raises:
        InputError: the tree is of another type, or a dataclass refuses a value.
    """
    check_tree(where, tree, hint)
    try:
        return made(tree, hint)
    except InputError as error:
        error.args = (f"{where}: {error}",)
        raise


def made(tree: Any, hint: Any, key: str = "") -> Any:
    """Convert a tree that fits a type to an object of that type; errors name the dotted key in the tree, below ``key``.

    Raises:
        InputError: a dataclass refuses a value.
    """
    if is_tagged(hint):
        tree = long_form(tree)
        return made({name: value for name, value in tree.items() if name != "kind"}, hint.kinds[hint.kind_of(tree)], key)
    if is_dataclass(hint):
        hints, names = field_hints(hint), {key_of(part.name): part.name for part in fields(hint)}
        parts = {names[name]: made(value, hints[name], below(key, name)) for name, value in tree.items()}
        try:
            return hint(**parts)  # type: ignore[operator]
        except InputError as error:
            error.args, error.name = (below(key, str(error)),), below(key, error.name) if error.name else None
            raise
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return tree if tree is None else made(tree, next(part for part in inner if _fits(tree, part)), key)
    if origin in (list, tuple):
        return origin(made(value, inner[0]) for value in tree)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {as_key(key, hint): made(value, inner[1]) for key, value in tree.items()}
    return float(tree) if hint is float else tree


def _fits(tree: Any, hint: Any) -> bool:
    try:
        check_tree("", tree, hint)
    except InputError:
        return False
    return True


def tree_of(value: Any) -> Any:
    """Return the plain tree from which :func:`made` makes a dataclass again."""
    if is_dataclass(value):
        return {key_of(part.name): tree_of(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {key: tree_of(item) for key, item in value.items()}
    return [tree_of(item) for item in value] if isinstance(value, list | tuple) else value


def overlaid(base: Any, over: Any, hint: Any) -> Any:
    """Return a tree of settings in which the values of ``over`` replace those of ``base``, key by key.

    If ``over`` names another kind, of a :class:`~pyro_vd._core.tagged.TaggedUnion` or of a dataclass with a field ``kind``, it
    replaces the whole, because the other settings are those of the former kind.

    Args:
        base: a tree that fits ``hint``.
        over: any tree; values that do not fit are kept, for :func:`~pyro_vd._core.schema.check_tree` to refuse.
        hint: the type of both.
    """
    if is_tagged(hint):
        base, over = long_form(base), long_form(over)
    elif not is_dataclass(hint):
        return over
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    kind = base.get("kind")
    if is_tagged(hint):
        kind = hint.kind_of(base)
        hint = hint.kinds[kind]
    hints = field_hints(hint)
    if "kind" in hints and over.get("kind", kind) != kind:
        return over  # the other settings are those of the former kind
    return base | {name: overlaid(base[name], value, hints[name]) if name in base else value for name, value in over.items()}
