"""The errors for users: a bad input, a missing package, or a training that became non-finite."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from pyro_vd._core.messages import shown


class _Nothing(Enum):
    """Stands for a value that was not given, where None is a value."""

    NOTHING = 0


class InputError(ValueError):
    """Bad input from the user. The message quotes the value and says what is allowed; the command line exits with 2.

    Args:
        message: the whole message; by default ``name (=value) must be allowed``.
        name: the name by which the user knows the value, such as an argument, a recipe's key, a sample site or a file.
        value: the value that was given.
        allowed: the allowed values, in words.

    Attributes:
        name, value, allowed: the arguments; None if they were not given.
        has_value: whether ``value`` was given, which may be None.

    Examples:
        >>> from pyro_vd import InputError, load_data
        >>> try:
        ...     load_data("digit")
        ... except InputError as error:
        ...     print(error.name, repr(error.value))
        data 'digit'
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


class UsedAgainError(InputError):
    """A weight, or noise, is used again in a forward pass in another way than the first use was drawn for."""


class MissingPackageError(InputError, ImportError):
    """A missing package of an extra. The message names it and the command that installs it.

    Args:
        what: the part of pyro_vd that needs the packages.
        packages: names of the missing packages, as they are installed.
        command: the command that installs them.
    """

    def __init__(self, what: str, packages: Sequence[str], command: str) -> None:
        names = ", ".join(packages)
        super().__init__(f"{what} needs {names}: {command}", name=names, allowed=command)
        self._arguments = what, tuple(packages), command

    def __reduce__(self) -> tuple[type[MissingPackageError], tuple[str, tuple[str, ...], str]]:
        return type(self), self._arguments


class ProcessError(RuntimeError):
    """Another process of a training has failed or ended. The message says which one and why, as far as this one knows."""


class NonFiniteError(ArithmeticError):
    """A training with repeated non-finite losses or gradients. The message names the sites and what to try.

    Examples:
        >>> from pyro_vd import BayesianNetwork, NonFiniteError, VariationalDropout, fit, load_data
        >>> from pyro_vd.networks import mlp
        >>> guide = VariationalDropout(BayesianNetwork(mlp([64, 10])))
        >>> try:
        ...     fit(guide, load_data("digits"), epochs=5, lr=1e30, progress=False)
        ... except NonFiniteError:
        ...     print("the learning rate is too high")
        the learning rate is too high
    """
