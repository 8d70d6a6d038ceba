"""Recipes as YAML files and command-line options."""

from __future__ import annotations

from argparse import ArgumentError
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from pyro_vd.errors import InputError
from pyro_vd.messages import must_be_one_of, one_line, parsing_message
from pyro_vd.recipe import Recipe


def recipes() -> dict[str, tuple[Path, str]]:
    """Built-in recipes by name: file, and the description in its first line."""
    folder = Path(str(resources.files("pyro_vd.runs")))
    return {path.stem: (path, path.read_text().splitlines()[0].lstrip("# ")) for path in sorted(folder.glob("*.yaml"))}


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
    recipe: Recipe = _build(Recipe, values)
    recipe.data.dir = values.get("data_dir") or recipe.data.dir
    return recipe


def _build(kind: type[Any], values: Any, key: str = "") -> Any:
    """An object of a dataclass and those within it; an error about one of its fields names that as the recipe does."""
    kinds, given = get_type_hints(kind), {}
    for field in fields(kind):
        value, name = values[field.name], f"{key}{field.name}"
        given[field.name] = _build(kinds[field.name], value, f"{name}.") if is_dataclass(kinds[field.name]) else value
    try:
        return kind(**given)
    except InputError as error:
        raise InputError(f"{key}{error}") from error


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """A recipe from the plain contents of a YAML file.

    Raises:
        InputError: an unknown key, a wrong type, or a value out of range.
    """
    parser = ArgumentParser(exit_on_error=False)
    add_recipe_arguments(parser)
    try:
        return recipe_from(parser, parser.parse_object(content))
    except ArgumentError as error:
        raise InputError(f"recipe: {parsing_message(error, parser)}") from error


def read_recipe(name: str) -> dict[str, Any]:
    """The plain contents of a built-in recipe, or of a YAML file; see :func:`recipe_path`.

    Raises:
        InputError: no such recipe, or no YAML in it.
    """
    return read_yaml(recipe_path(name))


def read_yaml(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML file.

    Raises:
        InputError: it is missing, no YAML, or anything but keys and values.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is missing or broken: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no recipe: it holds {content!r}, not keys and values")
    return content
