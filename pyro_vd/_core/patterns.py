"""Patterns over names of parameters, as shells have for files: ``"embedding.*"``, ``"*.bias"``, or a name itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean, quoted

T = TypeVar("T")


def names_matching(what: str, patterns: object, names: Collection[str]) -> list[str]:
    """Return the names that one of the patterns matches, in their order.

    Args:
        what: what a message calls the patterns.
        patterns: the patterns that a user has given.
        names: the names that there are.

    Raises:
        InputError: ``patterns`` is not a collection of texts, or one of them matches no name.
    """
    if isinstance(patterns, str) or not isinstance(patterns, Collection) or not all(isinstance(p, str) for p in patterns):
        raise InputError(name=what, value=patterns, allowed='a list of patterns of names, such as ["embedding.*"]')
    chosen = {name for matched in _matched(what, patterns, names).values() for name in matched}
    return [name for name in names if name in chosen]


def by_pattern(what: str, values: Mapping[str, T], names: Sequence[str], complete: bool = False) -> dict[str, T]:
    """Return the value of each name: that of the first pattern that matches it. Other names are left out.

    Args:
        what: what a message calls the values.
        values: values by pattern, in the order in which patterns are tried.
        names: the names that there are.
        complete: whether every name must have a value.

    Raises:
        InputError: a key is not a text, or matches no name; or a name has no value although all must have one.
    """
    if not all(isinstance(pattern, str) for pattern in values):
        raise InputError(name=what, value=values, allowed="a mapping whose keys are names, or patterns such as 'embedding.*'")
    first: dict[str, T] = {}
    for pattern, matched in reversed(_matched(what, values, names).items()):
        first |= dict.fromkeys(matched, values[pattern])
    found = {name: first[name] for name in names if name in first}
    if complete and (missing := [name for name in names if name not in found]):
        raise InputError(
            f"{what} has no pattern for {', '.join(map(quoted, missing))}; every weight must have one: add '*' at the end, "
            "for all that no earlier pattern matches",
            name=what,
            value=missing,
        )
    return found


def _matched(what: str, patterns: Collection[str], names: Collection[str]) -> dict[str, list[str]]:
    """Return the names that each pattern matches, by pattern; refuse a pattern that matches none."""
    found = {pattern: [n for n in names if n == pattern or fnmatchcase(n, pattern)] for pattern in patterns}
    if unmatched := [pattern for pattern in patterns if not found[pattern]]:
        raise InputError(
            f"{what} (={quoted(unmatched)}) must name weights, or match names with '*', '?' and '[…]': "
            f"{', '.join(names)}{did_you_mean(unmatched[0], names)}",
            name=what,
            value=unmatched,
            allowed=f"names or patterns of {', '.join(names)}",
        )
    return found
