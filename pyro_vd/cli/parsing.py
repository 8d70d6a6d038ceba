"""The arguments of a command: argparse takes them apart, and values are checked against types as those of recipes are."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, Literal, NoReturn, get_args, get_origin

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean
from pyro_vd._core.schema import check_tree
from pyro_vd._core.terminal import finish_output
from pyro_vd._core.yaml_files import from_text
from pyro_vd.cli.commands import COMMANDS


class Parser(argparse.ArgumentParser):
    """The parser of a command, with the option ``--json``. It raises an :class:`InputError` where others end the program.

    Args:
        usage: the command's name, and its arguments in short.
        more: text of the help after the command's line in the overview.
    """

    def __init__(self, usage: str, more: str = "") -> None:
        self.command: str = usage.split()[0]
        what = COMMANDS[self.command]
        super().__init__(
            prog=f"pyro-vd {self.command}",
            usage=f"pyro-vd {usage}",
            description=f"{what[0].upper()}{what[1:]}. {more}",
            exit_on_error=False,
            allow_abbrev=False,
        )
        self.add_argument("--json", action="store_true", help="print one JSON object instead of a table")

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse itself would not say that it cannot be written.

        Raises:
            OSError: standard output cannot be written.
        """
        if file is None:
            finish_output(self.format_help())
        else:
            super().print_help(file)

    def flag(self, name: str, help_text: str) -> None:
        """Add an option without a value, which is True where it is given."""
        self.add_argument(name, action="store_true", help=help_text)

    def value(self, name: str, hint: Any, help_text: str, **options: Any) -> None:
        """Add an argument whose value is of a type, ``hint``; see :func:`~pyro_vd._core.schema.check_tree`.

        Args:
            name: of an option with its dashes; without dashes of a positional argument.
            hint: text is taken as it is where text is wanted, and otherwise as a value in YAML.
            help_text: for ``--help``.
            options: further arguments of ``argparse``.
        """
        if name.startswith("-"):
            options["metavar"] = metavar(hint)
        read = partial(_typed, name.lstrip("-"), hint)
        self.add_argument(name, type=read, help=help_text.replace("%", "%%"), **options)

    def read(self, arguments: list[str]) -> argparse.Namespace:
        """The values of the arguments.

        Raises:
            InputError: naming what is wrong, with its value and what is allowed.
        """
        try:
            values, unknown = self.parse_known_args(arguments)
        except argparse.ArgumentError as error:
            if isinstance(error.__context__, InputError):  # of the value's type
                raise error.__context__ from None
            self.error(f"{error.argument_name}: {error.message}", error.argument_name)
        if unknown:
            name = unknown[0].partition("=")[0]
            if not name.startswith("-"):
                self.error(f"there is no place for the argument {unknown[0]!r}", unknown[0])
            options = [text.lstrip("-") for action in self._actions for text in action.option_strings]
            meant = did_you_mean(name.lstrip("-"), options)
            raise InputError(f"there is no option {name!r}{meant or f'; see {self.prog} --help'}", name=name)
        return values

    def error(self, message: str, name: str | None = None) -> NoReturn:
        """Raise an error about an argument instead of ending the program."""
        raise InputError(f"{message}; see {self.prog} --help", name=name)


def metavar(*hints: Any) -> str:
    """What stands for a value of one of these types in a help text."""
    if all(get_origin(hint) is Literal for hint in hints):
        return f"{{{','.join(dict.fromkeys(name for hint in hints for name in get_args(hint)))}}}"
    hint = next(iter(get_args(hints[0])), hints[0])  # of ``float | None``: float
    return {int: "N", float: "X", bool: "{true,false}"}.get(hint, "VALUE")


def _typed(name: str, hint: Any, text: str) -> Any:
    check_tree("", value := from_text(name, text, hint), hint, name)
    return float(value) if hint is float else value
