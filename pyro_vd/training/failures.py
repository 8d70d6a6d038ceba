"""An error of one process of a training, as the others hear of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyro_vd._core.errors import InputError, NonFiniteError, ProcessError
from pyro_vd._core.messages import one_line, quoted

_TOLD = "_pyro_vd_told"


@dataclass(frozen=True)
class Failure:
    """An error in a form that every process can read."""

    rank: int
    message: str
    kind: str
    fields: dict[str, Any]
    """Of an :class:`InputError`: name, value and what is allowed."""

    @classmethod
    def of(cls, rank: int, error: Exception) -> Failure:
        """Describe an error that was raised in the process of this rank."""
        if not isinstance(error, InputError):
            return cls(rank, one_line(error), type(error).__name__, {})
        plain = error.value if isinstance(error.value, str | int | float | None) else quoted(error.value)
        value = {"value": plain} if error.has_value else {}
        return cls(rank, one_line(error), InputError.__name__, {"name": error.name, "allowed": error.allowed, **value})

    def error(self) -> Exception:
        """The error to raise in every process, which names the rank."""
        if self.kind == InputError.__name__:
            return told(InputError(f"rank {self.rank}: {self.message}", **self.fields))
        if self.kind == NonFiniteError.__name__:
            return told(NonFiniteError(f"rank {self.rank}: {self.message}"))
        return told(ProcessError(f"rank {self.rank} has failed: {self.kind}: {self.message}"))


def told(error: Exception) -> Exception:
    """Mark an error as one that all processes know."""
    vars(error)[_TOLD] = True
    return error


def is_told(error: BaseException) -> bool:
    """Whether all processes know of an error."""
    return _TOLD in vars(error)


def in_common(failures: Sequence[Failure | None]) -> bool:
    """Whether every process has failed, and with the same words: then no rank is to blame."""
    return len({None if each is None else each.message for each in failures}) == 1


def lost(rank: int, size: int, error: BaseException) -> Exception:
    """The error of a process that can no longer reach the others."""
    return told(
        ProcessError(
            f"rank {rank} of {size} has lost another process of this training, which was killed, has ended or does not answer "
            f"({one_line(str(error).partition(chr(10))[0])[:200]}); this one ends too. Start them all again, and resume from "
            "the checkpoint, if one was written"
        )
    )
