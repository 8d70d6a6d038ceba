"""The errors a user can meet: something they gave is wrong, a package is missing, or training went non-finite."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from pyro_vd._core.messages import shown


class _Nothing(Enum):
    """Stands for a value that was not given, where None is a value."""

    NOTHING = 0


class InputError(ValueError):
    """Bad input. The message quotes the offending value and says what is allowed; the command line exits with 2.

    Args:
        message: the whole message; by default ``name (=value) must be allowed``.
        name: what the value is called where the user gave it, such as an argument, a recipe's key or a file.
        value: what was given.
        allowed: what is allowed instead, in words.

    Attributes:
        name, value, allowed: as given; None where they are not. ``has_value`` tells a value of None from none.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        name: str | None = None,
        value: object = _Nothing.NOTHING,
        allowed: str | None = None,
    ) -> None:
        super().__init__(f"{name} (={shown(value)}) must be {allowed}" if message is None else message)
        self.has_value: bool = value is not _Nothing.NOTHING
        self.name: str | None = name
        self.value: object = value if self.has_value else None
        self.allowed: str | None = allowed


class MissingPackageError(InputError, ImportError):
    """A package of an extra is not installed. The message names it and the command that installs it.

    Args:
        what: what needs the packages.
        packages: those that are missing, by the names under which they are installed.
        command: the command that installs them.
    """

    def __init__(self, what: str, packages: Sequence[str], command: str) -> None:
        names = ", ".join(packages)
        super().__init__(f"{what} needs {names}: {command}", name=names, allowed=command)


class NonFiniteError(ArithmeticError):
    """Training met non-finite losses or gradients again and again. The message names the sites and what to try."""
