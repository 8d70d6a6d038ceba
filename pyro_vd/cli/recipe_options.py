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
    "RECIPE is a name that pyro-vd recipes lists, or the path of a YAML file with these keys, of which any may be left out. A "
    "section can be given as a whole: --train.lr_schedule '{kind: linear}'. "
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
    asks_for_help = arguments[:1] in (["-h"], ["--help"])
    if not asks_for_help and (not arguments or arguments[0].startswith("-")):
        listed = ", ".join(recipes())
        allowed = f"one of {listed}, or the path of a .yaml file"
        raise InputError(f"{parser.command} needs a recipe first: {allowed}", name="recipe", allowed=allowed)
    values = parser.read(arguments if asks_for_help else arguments[1:])
    take_trust(values)
    path = recipe_path(arguments[0])
    keys = {key: text for key, text in vars(values).items() if key in known}
    return RecipeArguments(path, read_recipe(arguments[0], *(values.config or ())), keys, values)
