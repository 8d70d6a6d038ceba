"""The arguments of the commands that take a recipe: the recipe first, then any of its keys as options."""

from __future__ import annotations

import argparse
from argparse import SUPPRESS
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_vd._core.errors import InputError
from pyro_vd.cli.arguments import add_data_dir, add_trust, take_trust
from pyro_vd.cli.parsing import Parser, metavar
from pyro_vd.runs import recipe_path, recipes

if TYPE_CHECKING:
    from pyro_vd.workflow.recipe import Recipe

_EPILOG = (
    "RECIPE is a name that pyro-vd recipes lists, or the path of a YAML file with these keys, of which any may be left out. "
    "It can itself be left out where --data.name is a file or a folder: a table then takes the recipe tabular, images take the "
    "recipe images, and texts and tokens the recipe text. A section can be given as a whole: "
    "--train.lr_schedule '{kind: linear}'. "
    "--train.guide KIND is short for --train.guide.kind KIND; a kind that is not the recipe's starts from its own defaults."
)


@dataclass(frozen=True)
class RecipeArguments:
    """The values of the arguments: the file of the recipe, its contents with further files laid over it, and changed keys."""

    path: Path
    content: dict[str, Any]
    keys: dict[str, str]
    values: argparse.Namespace

    def recipe(self, *changes: dict[str, str]) -> Recipe:
        """The recipe, with further keys changed.

        Raises:
            InputError: see :func:`~pyro_vd.workflow.recipe_files.recipe_with`.
        """
        from pyro_vd.workflow.recipe_files import recipe_with

        recipe = recipe_with(self.content, self.keys, *changes)
        recipe.data.dir = self.values.data_dir or recipe.data.dir
        return recipe


def read_recipe_arguments(parser: Parser, arguments: list[str]) -> RecipeArguments:
    """Read a recipe and its changed keys, beside the arguments that ``parser`` has already.

    Raises:
        InputError: no recipe, one that cannot be read, or a bad argument.
    """
    from pyro_vd.workflow.recipe_files import read_recipe, recipe_sections

    parser.epilog = _EPILOG
    parser.value("--config", str, "a further YAML file of keys, laid over the recipe; may be repeated", action="append")
    parser.flag("--quiet", "show no progress")
    add_data_dir(parser)
    add_trust(parser)
    known = []
    for section in recipe_sections():
        group = parser.add_argument_group(f"{section.key}: {section.title}" if section.key else "recipe")
        if section.key:
            known.append(section.key)
            group.add_argument(f"--{section.key}", default=SUPPRESS, help=SUPPRESS)
        for setting in section.settings:
            known.append(setting.key)
            text = setting.help.replace("%", "%%")
            group.add_argument(f"--{setting.key}", default=SUPPRESS, metavar=metavar(*setting.hints), help=text)
    names_recipe = bool(arguments) and not arguments[0].startswith("-")
    values = parser.read(arguments[1:] if names_recipe else arguments)
    take_trust(values)
    name = arguments[0] if names_recipe else _recipe_for(parser, vars(values).get("data.name"))
    path = recipe_path(name)
    keys = {key: text for key, text in vars(values).items() if key in known}
    return RecipeArguments(path, read_recipe(name, *(values.config or ())), keys, values)


def _recipe_for(parser: Parser, data: str | None) -> str:
    """The built-in recipe for data of this name, where no recipe is named.

    Raises:
        InputError: the data are no file or folder for which there is a recipe.
    """
    from pyro_vd.data.loading import NAMES, kind_of_data

    found = None if data is None else kind_of_data(data)
    if found is None:
        listed = ", ".join(recipes())
        allowed = f"one of {listed}, or the path of a .yaml file"
        or_data = "; or --data.name with a table (.csv or .parquet), an .npz file or a folder that exists"
        if data is not None:
            state = "is of no such kind" if Path(data).exists() else "is built in" if data in NAMES else "does not exist"
            or_data += f"; {data!r} {state}"
        raise InputError(f"{parser.command} needs a recipe first: {allowed}{or_data}", name="recipe", allowed=allowed)
    return found
