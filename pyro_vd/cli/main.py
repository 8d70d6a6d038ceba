"""The command line, ``pyro-vd``: tables on standard output, progress and messages on standard error."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from pyro_vd import __version__
from pyro_vd._core.ending import INTERRUPTED, interruptible
from pyro_vd._core.errors import InputError, NonFiniteError, ProcessError
from pyro_vd._core.extras import check_installed
from pyro_vd._core.launched import launched
from pyro_vd._core.messages import must_be_one_of, one_line
from pyro_vd._core.terminal import discard_output, finish_output, prepare_streams
from pyro_vd.cli.commands import COMMANDS

_GOING_ON = {
    "train": "; --resume goes on from the last epoch",
    "compress": "; the same command with --resume goes on",
    "sweep": "; the same command goes on from the last epochs",
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and end the program.

    The exit code is 0; 1 where training failed, in this process or another one; 2 for bad input, with a message that quotes it;
    130 for Ctrl-C, and 141 where the reader of standard output has gone, as for the signals of these.
    """
    prepare_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    interrupted = "interrupted" + _GOING_ON.get(arguments[0] if arguments else "", "")
    try:
        with interruptible(interrupted):
            _run(arguments)
            finish_output()
    except BrokenPipeError:
        discard_output()
        sys.exit(141)
    except (InputError, OSError) as error:
        _exit(2, f"error: {one_line(error)}")
    except (NonFiniteError, ProcessError) as error:
        _exit(1, f"error: {one_line(error)}")
    except KeyboardInterrupt:
        _exit(INTERRUPTED, interrupted)
    sys.exit(0)


def _exit(code: int, message: str) -> NoReturn:
    with contextlib.suppress(OSError):  # standard error may be on a full disk
        print(message, file=sys.stderr)
    with contextlib.suppress(OSError):
        finish_output()
    sys.exit(code)


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        listed = "\n".join(f"  {name:12}{what}" for name, what in COMMANDS.items())
        more = "pyro-vd COMMAND --help shows the arguments of a command; pyro-vd --version prints the version."
        finish_output(f"usage: pyro-vd COMMAND …\n\n{listed}\n\n{more}\n")
        return
    if arguments[0] == "--version":
        finish_output(f"pyro-vd {__version__}\n")
        return
    command, *rest = arguments
    if command not in COMMANDS:
        message = must_be_one_of("command", command, COMMANDS)
        raise InputError(message, name="command", value=command, allowed=f"one of {', '.join(COMMANDS)}")
    if command != "train" and launched() > 1:
        raise InputError(
            f"pyro-vd {command} runs in one process, and was started in {launched()} (WORLD_SIZE); start it without torchrun",
            name="WORLD_SIZE",
            value=launched(),
            allowed="1: pyro-vd train alone runs in several processes",
        )
    check_installed("pyro-vd", "rich", "pyyaml")
    import_module(f"pyro_vd.cli.{command}").run(rest)
