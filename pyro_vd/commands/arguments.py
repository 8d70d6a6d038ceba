"""What the commands have in common: their parsers, and the table or JSON object at their end."""

from __future__ import annotations

import json
from argparse import ArgumentError
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from pyro_vd.errors import InputError
from pyro_vd.messages import one_line, parsing_message


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


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """The parsed arguments.

    Raises:
        InputError: quoting what is wrong.
    """
    try:
        return parser.parse_args(arguments)
    except ArgumentError as error:
        message = parsing_message(error)
        raise InputError(message if "must be" in message else f"{message}; see {parser.prog} --help") from error
    except UnicodeDecodeError as error:
        raise InputError(f"a file among {' '.join(arguments)} is no text: {one_line(error)}") from error


def finish(values: Namespace, result: dict[str, Any], title: str) -> None:
    """Print the result: with ``--json`` as it is, otherwise its ``networks`` as a table."""
    from pyro_vd.storage import as_json
    from pyro_vd.tables import print_networks

    if values.json:
        print(as_json(result))
    else:
        print_networks(title, json.loads(as_json(result))["networks"])
