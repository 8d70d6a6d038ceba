"""What a search may draw: a range of numbers, or one of some values, for each of some keys of a recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pyro_vd._core.errors import InputError
from pyro_vd.workflow.grid import by_key, listed_values, not_comparable
from pyro_vd.workflow.recipe_files import recipe_sections

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})")
_DIGITS = 4  # of a drawn number; what is trained is the number in the name of its folder


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``: any of them equally probable, or, with ``log``, any factor."""

    low: float
    high: float
    log: bool
    whole: bool
    """Whether only integers are drawn."""

    def distribution(self) -> BaseDistribution:
        """The distribution for Optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), self.log)
        return FloatDistribution(self.low, self.high, self.log)

    def text(self, value: Any) -> str:
        """A drawn number as text, rounded to four digits within the range."""
        if self.whole:
            return str(value)
        return f"{min(max(float(f'{value:.{_DIGITS}g}'), self.low), self.high):g}"

    def ends(self) -> tuple[str, ...]:
        """The values to check before anything is drawn."""
        return (self.text(int(self.low)), self.text(int(self.high))) if self.whole else (repr(self.low), repr(self.high))


@dataclass(frozen=True)
class Choices:
    """One of some values, as text."""

    values: tuple[str, ...]

    def distribution(self) -> BaseDistribution:
        """The distribution for Optuna."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def text(self, value: Any) -> str:
        """A drawn value as text."""
        return str(value)

    def ends(self) -> tuple[str, ...]:
        """The values to check before anything is drawn."""
        return self.values


def read_search(texts: Sequence[str]) -> dict[str, Range | Choices]:
    """What may be drawn, from texts of the form ``key=low..high``, ``key=log:low..high`` or ``key=v1,v2``, by key.

    Raises:
        InputError: a text has another form, a key is not one of the recipe or is not for a search, or a range is not one of
            numbers that the key takes.
    """
    space: dict[str, Range | Choices] = {}
    for key, text in by_key("search", texts, "key=low..high, key=log:low..high or key=value,value,…").items():
        if key == "seed":
            raise InputError(
                f"search (={f'seed={text}'!r}): a seed is not searched for, because the best one is luck; --seeds N trains "
                "every setting with N seeds",
                name="search",
                value=f"seed={text}",
            )
        if key.partition(".")[0] == "data":
            raise not_comparable("search", key, text)
        found = _RANGE.fullmatch(text)
        space[key] = _range(key, text, *found.groups()) if found else Choices(tuple(listed_values("search", key, text)))
    return space


def _range(key: str, text: str, log: str | None, low: str, high: str) -> Range:
    hints = {each.key: each.hints for section in recipe_sections() for each in section.settings}.get(key, ())
    types = {part for hint in hints for part in (get_args(hint) or (hint,))}
    given = f"{key}={text}"
    if not types & {int, float}:
        raise InputError(name="search", value=given, allowed=f"key=value,value,…, because {key} takes no single number")
    read = Range(float(low), float(high), bool(log), whole=float not in types)
    if read.low >= read.high:
        raise InputError(name="search", value=given, allowed="a range whose first number is smaller than the second one")
    if read.log and read.low <= 0:
        raise InputError(name="search", value=given, allowed="above 0 where the range is logarithmic")
    if read.whole and not (read.low.is_integer() and read.high.is_integer()):
        raise InputError(name="search", value=given, allowed=f"a range of integers, because {key} takes integers only")
    return read
