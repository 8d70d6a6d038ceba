"""Recipes from YAML files and from keys given as text, laid over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyro_vd._core.documentation import Section, sections
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean
from pyro_vd._core.schema import check_tree, field_hints, leaves
from pyro_vd._core.settings import made, overlaid, tree_of, typed
from pyro_vd._core.tagged import long_form
from pyro_vd._core.yaml_files import dump_yaml, from_text, read_yaml
from pyro_vd.runs import recipe_path
from pyro_vd.workflow.recipe import Recipe

_FEW = 20
"""So many keys of a file are compared with those of recipes, for what was mistyped."""


def recipe_sections() -> tuple[Section, ...]:
    """The keys of a recipe with their documentation, by section."""
    return tuple(sections(Recipe))


def parse_recipe(content: dict[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from the plain contents of a YAML file; ``where`` is the file, for messages.

    Raises:
        InputError: an unknown key, a wrong type, or a value out of range; or the file is no recipe, of which nothing is quoted.
    """
    _check_is_recipe(where, content)
    recipe: Recipe = typed(where, content, Recipe)
    return recipe


def _check_is_recipe(where: str, content: dict[Any, Any]) -> None:
    """Refuse keys and values of which none is like a recipe's, so that no key of another file is shown."""
    known = field_hints(Recipe)
    alike = any(did_you_mean(key, (*known, *leaves(Recipe))) for key in list(content)[:_FEW])
    if content and not alike and known.keys().isdisjoint(content):
        allowed = f"keys and values with some of the keys {', '.join(known)}"
        raise InputError(f"{where} is not a recipe: it must hold {allowed}", name=where, allowed=allowed)


def read_recipe(name: str, *further: str) -> dict[str, Any]:
    """The plain contents of a recipe, with further files laid over it, the last one on top.

    Args:
        name: of a built-in recipe, or the path of a YAML file; see :func:`~pyro_vd.runs.recipe_path`.
        further: the same, of recipes that may give only some keys.

    Raises:
        InputError: no such recipe, no YAML in it, an unknown key or a wrong type; values may be out of range.
    """
    content: dict[str, Any] = {}
    for each in (name, *further):
        found = read_yaml(path := recipe_path(each))
        _check_is_recipe(str(path), found)
        content = overlaid(content, found, Recipe)
        check_tree(str(path), content, Recipe)
    return content


def recipe_with(content: Mapping[str, Any], *changes: Mapping[str, str]) -> Recipe:
    """A recipe with some keys changed.

    Args:
        content: as :func:`read_recipe` gives it.
        changes: texts by the recipe's dotted keys, each laid over what is before it. ``train.guide`` and other sections can be
            given as a whole.

    Raises:
        InputError: a wrong type, a value out of range, or a key that is not for the kind of guide.
    """
    for texts in changes:
        content = overlaid(content, _tree(texts), Recipe)
        check_tree("", content, Recipe)
    recipe: Recipe = made(content, Recipe)
    return recipe


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML, with every key."""
    return dump_yaml(tree_of(recipe))


def _tree(texts: Mapping[str, str]) -> dict[str, Any]:
    hints: dict[str, Sequence[Any]] = {each.key: each.hints for section in recipe_sections() for each in section.settings}
    tree: dict[str, Any] = {}
    for key in sorted(texts):  # a section comes before its keys
        *path, last = key.split(".")
        part = tree
        for name in path:
            part[name] = long_form(part.get(name, {}))
            if not isinstance(part[name], dict):
                break  # it is refused for what it is
            part = part[name]
        else:
            part[last] = from_text(key, texts[key], *hints.get(key, ()))
    return tree
