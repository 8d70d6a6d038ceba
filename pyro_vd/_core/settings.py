"""Dataclasses made from plain trees, such as settings, and trees laid over each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pyro_vd._core.errors import InputError
from pyro_vd._core.schema import as_key, below, check_tree, field_hints
from pyro_vd._core.tagged import is_tagged, long_form


def typed(where: str, tree: Any, hint: Any) -> Any:
    """What a tree says, as an object of a type: see :func:`check_tree`; dataclasses are made, and tell what they refuse.

    Raises:
        InputError: the tree is of another type, or a value is out of range.
    """
    check_tree(where, tree, hint)
    try:
        return made(tree, hint)
    except InputError as error:
        error.args = (f"{where}: {error}",)
        raise


def made(tree: Any, hint: Any, key: str = "") -> Any:
    """An object of a type, from a tree that fits it; what a dataclass refuses is named as the tree does, below ``key``.

    Raises:
        InputError: a value is out of range.
    """
    if is_tagged(hint):
        tree = long_form(tree)
        return made({name: value for name, value in tree.items() if name != "kind"}, hint.kinds[hint.kind_of(tree)], key)
    if is_dataclass(hint):
        hints = field_hints(hint)
        parts = {name: made(value, hints[name], below(key, name)) for name, value in tree.items()}
        try:
            return hint(**parts)  # type: ignore[operator]
        except InputError as error:
            error.args, error.name = (below(key, str(error)),), below(key, error.name) if error.name else None
            raise
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return tree if tree is None else made(tree, next(part for part in inner if part is not NoneType))
    if origin in (list, tuple):
        return origin(made(value, inner[0]) for value in tree)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {as_key(key, hint): made(value, inner[1]) for key, value in tree.items()}
    return float(tree) if hint is float else tree


def overlaid(base: Any, over: Any, hint: Any) -> Any:
    """A tree of settings with another laid over it: what ``over`` gives replaces what ``base`` gives, key by key.

    Where ``over`` names another kind of a :class:`~pyro_vd._core.tagged.TaggedUnion`, it replaces all of it.

    Args:
        base: a tree that fits ``hint``.
        over: any tree; what does not fit is kept as it is, for :func:`~pyro_vd._core.schema.check_tree` to refuse.
        hint: the type of both.
    """
    if is_tagged(hint):
        base, over = long_form(base), long_form(over)
    elif not is_dataclass(hint):
        return over
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    if is_tagged(hint):
        kind = hint.kind_of(base)
        if over.get("kind", kind) != kind:
            return over
        hint = hint.kinds[kind]
    hints = field_hints(hint)
    return base | {name: overlaid(base[name], value, hints[name]) if name in base else value for name, value in over.items()}
