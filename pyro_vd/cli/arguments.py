"""What the commands have in common: their parsers, and the table or JSON object at their end."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line, parsing_message

if TYPE_CHECKING:
    from pyro_vd.data.dataset import Dataset
    from pyro_vd.evaluation.observations import Observed
    from pyro_vd.workflow.run_folder import Run

SOURCE = "folder of a finished run, or a pruned .safetensors file"
"""What :func:`source_of` takes."""


def parser_of(usage: str, help_text: str) -> ArgumentParser:
    """A parser that raises instead of exiting, with the option ``--json``; ``usage`` begins with the command's name."""
    parser = ArgumentParser(
        prog=f"pyro-vd {usage.split()[0]}",
        usage=f"pyro-vd {usage}",
        description=f"{help_text[0].upper()}{help_text[1:]}.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def add_data_dir(parser: ArgumentParser) -> None:
    """Give a parser the option ``--data-dir``."""
    parser.add_argument("--data-dir", type=str, help="torchvision root (default: the recipe's data.dir, then $PYRO_VD_DATA)")


def check_learns_alpha(run: Run) -> None:
    """Refuse a run whose guide learns no α.

    Raises:
        InputError: it does not.
    """
    if not run.guide.learns_alpha:
        raise InputError(f"{run.folder} was trained with train.guide {run.recipe.train.guide!r}, which learns no α to prune by")


def with_recipe(parser: ArgumentParser, arguments: list[str]) -> tuple[Path, list[str]]:
    """The file of the recipe that comes first, and the arguments with its keys in its place; exits where help is asked for.

    Raises:
        InputError: no recipe, or one that is none.
    """
    from pyro_vd.workflow.recipe_files import add_recipe_arguments, recipe_path, recipes, with_files

    parser.add_argument("--config", action="config", help="a further YAML file of keys, after the recipe's")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    add_data_dir(parser)
    add_recipe_arguments(parser)
    if arguments and arguments[0] in ("-h", "--help"):
        parser.print_help()
        sys.exit(0)
    if not arguments or arguments[0].startswith("-"):
        command = parser.prog.split()[-1]
        raise InputError(f"{command} needs a recipe first: one of {', '.join(recipes())}, or the path of a .yaml file")
    return recipe_path(arguments[0]), with_files(["--config", *arguments])


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """The parsed arguments.

    Raises:
        InputError: quoting what is wrong.
    """
    try:
        return parser.parse_args(arguments)
    except ArgumentError as error:
        message = parsing_message(error, parser)
        says_what_is_allowed = "must be" in message or "did you mean" in message
        raise InputError(message if says_what_is_allowed else f"{message}; see {parser.prog} --help") from error
    except (ValueError, LookupError, ArithmeticError, RecursionError) as error:  # of YAML that is no value, such as 0x_
        raise InputError(f"an option has a value that YAML cannot read: {one_line(error)}") from error


def source_of(values: Namespace) -> Path:
    """The path ``values.source``.

    Raises:
        InputError: there is nothing.
    """
    if not Path(values.source).exists():
        raise InputError(name="source", value=values.source, allowed=f"the {SOURCE}")
    return Path(values.source)


def likelihood_of(file: Path) -> Observed | None:
    """The likelihood that a network's file names; None, for which Pyro is not needed, where it names none.

    Raises:
        InputError: the file is missing, broken or foreign, or says something else than a run writes.
    """
    from pyro_vd.export.pruned_file import read_info

    if "likelihood" not in read_info(file):
        return None
    from pyro_vd.models.likelihoods import read_likelihood

    return read_likelihood(file)


def data_of(source: Path, name: str | None, info: dict[str, Any], data_dir: str | None) -> Dataset:
    """The data set ``name``, by default the one that a pruned file says in its ``info`` it was trained on.

    Raises:
        InputError: neither is given, or no such data.
    """
    from pyro_vd.data.loading import load_data

    if not (name or info.get("data")):
        raise InputError(f"{source} does not say what data it was trained on: give --data NAME")
    return load_data(name or str(info["data"]), data_dir)


def new_file(out: Path | str) -> Path:
    """The path of a file to write.

    Raises:
        InputError: it is there already.
    """
    path = Path(out)
    if path.exists():
        raise InputError(f"{path} exists; choose another file with --out")
    return path


def finish(values: Namespace, result: dict[str, Any], title: str) -> None:
    """Print the result: with ``--json`` as it is, otherwise its ``networks`` as a table."""
    from pyro_vd._core.storage import as_json
    from pyro_vd.workflow.tables import print_networks

    if values.json:
        print(as_json(result))
    else:
        print_networks(title, json.loads(as_json(result))["networks"])
