"""Recipes as YAML files and command-line options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import must_be_one_of
from pyro_vd._core.schema import check_tree, flat, made, typed
from pyro_vd._core.yaml_files import read_yaml
from pyro_vd.workflow.recipe import Recipe


def recipes() -> dict[str, tuple[Path, str]]:
    """Built-in recipes by name: file, and the description in its first line."""
    folder = Path(str(resources.files("pyro_vd.runs")))
    return {path.stem: (path, path.read_text("utf-8").splitlines()[0].lstrip("# ")) for path in sorted(folder.glob("*.yaml"))}


def recipe_path(name: str) -> Path:
    """The file of a built-in recipe, or the path itself if it is a YAML file.

    Raises:
        InputError: neither.
    """
    built_in = recipes()
    if name in built_in:
        return built_in[name][0]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    raise InputError(must_be_one_of("recipe", name, built_in, ", or the path of a .yaml file that exists"))


def add_recipe_arguments(parser: ArgumentParser) -> None:
    """Give a parser an option for every key of :class:`Recipe`."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser.add_class_arguments(Recipe, as_group=False)


def recipe_from(parser: ArgumentParser, values: Namespace) -> Recipe:
    """The recipe among the parsed values of a parser that has its options; ``--data-dir`` is for its ``data.dir``.

    Raises:
        InputError: a value out of range, under the recipe's name for it.
    """
    tree = values.as_dict()
    recipe: Recipe = made({field.name: tree[field.name] for field in fields(Recipe)}, Recipe)
    recipe.data.dir = values.get("data_dir") or recipe.data.dir
    return recipe


def parse_recipe(content: dict[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from the plain contents of a YAML file; ``where`` is the file, for messages.

    Raises:
        InputError: an unknown key, a wrong type, or a value out of range.
    """
    recipe: Recipe = typed(where, content, Recipe)
    return recipe


def read_recipe(name: str) -> dict[str, Any]:
    """The plain contents of a built-in recipe, or of a YAML file; see :func:`recipe_path`.

    Raises:
        InputError: no such recipe, no YAML in it, an unknown key or a wrong type; values may be out of range.
    """
    content = read_yaml(path := recipe_path(name))
    check_tree(str(path), content, Recipe)
    return content


def with_files(arguments: Sequence[str]) -> list[str]:
    """Arguments with the keys of each ``--config FILE`` in its place.

    Raises:
        InputError: see :func:`read_recipe`.
    """
    given, left = [], list(arguments)
    while left:
        name, equals, file = (argument := left.pop(0)).partition("=")
        if name != "--config" or not (equals or left):
            given.append(argument)
            continue
        content = read_recipe(file if equals else left.pop(0))
        given += [f"--{key}={_as_option(value)}" for key, value in flat(content, Recipe).items()]
    return given


def _as_option(value: Any) -> str:
    if isinstance(value, dict):  # JSON would turn numbers that are keys into text
        return f"{{{', '.join(f'{key}: {_as_option(item)}' for key, item in value.items())}}}"
    return value if isinstance(value, str) else json.dumps(value)
