"""The points of a sweep: every combination of the values given for some keys of a recipe."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean
from pyro_vd.workflow.recipe_files import recipe_sections

_UNFIT = re.compile(r"[^\w.+-]+")  # for a folder's name
_SAME_EXAMPLES = ("data.drop", "data.dir")  # they leave the division into training, validation and test data as it is
_LONGEST_NAME = 240  # of a folder, in bytes; most file systems allow 255


def read_grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """The values in texts of the form ``key=v1,v2``, by key.

    Raises:
        InputError: a text has another form, a key is not one of the recipe, or a key or a value is given twice; or several
            values of a key that decides which examples are validation data, or what is observed.
    """
    allowed = "key=value,value,… without empty values, such as train.lr=0.001,0.003"
    grid = {key: listed_values("grid", key, text) for key, text in by_key("grid", texts, allowed).items()}
    for key, values in grid.items():
        if len(values) > 1 and (key == "data" or (key.startswith("data.") and key not in _SAME_EXAMPLES)):
            raise not_comparable("grid", key, ",".join(values))
    return grid


def not_comparable(name: str, key: str, text: str) -> InputError:
    """The error for a key whose values would give settings with validation scores on different data."""
    value = f"{key}={text}"
    message = f"{name} (={value!r}): scores on different data cannot be compared; --{key} sets it for all"
    return InputError(message, name=name, value=value)


def by_key(name: str, texts: Sequence[str], allowed: str) -> dict[str, str]:
    """What stands after the ``=`` of each text, by key.

    Args:
        name: of the option, for messages.
        texts: of the form ``key=…``.
        allowed: the forms, for messages.

    Raises:
        InputError: a text has another form, a key is not one of the recipe, or is given twice.
    """
    keys = [key for section in recipe_sections() for key in (section.key, *(each.key for each in section.settings)) if key]
    found: dict[str, str] = {}
    for text in texts:
        key, equals, rest = text.partition("=")
        if not equals or not rest.strip():
            raise InputError(name=name, value=text, allowed=allowed)
        if key not in keys:
            meant = did_you_mean(key, keys)
            raise InputError(
                f"{name} (={text!r}): {key!r} must be a key of the recipe, such as train.lr or seed{meant}",
                name=name,
                value=text,
            )
        if key in found:
            raise InputError(f"{name} (={text!r}): a key may be given only once", name=name, value=text)
        found[key] = rest.strip()
    return found


def listed_values(name: str, key: str, text: str) -> list[str]:
    """The values of a key, between commas; commas within brackets do not separate values.

    Raises:
        InputError: a value is empty, or is given twice.
    """
    listed = [value.strip() for value in re.split(r",(?![^\[{]*[\]}])", text)]
    if not all(listed):
        raise InputError(name=name, value=f"{key}={text}", allowed="key=value,value,… without empty values")
    if len(set(listed)) < len(listed):
        raise InputError(f"{name} (={f'{key}={text}'!r}): a value may be given only once", name=name, value=f"{key}={text}")
    return listed


def combinations(grid: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every combination of the values, as dicts by key."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def name_of(point: Mapping[str, str]) -> str:
    """The name of a run's folder: its keys and values, with ``_`` for characters that a file system may refuse.

    Raises:
        InputError: the name is too long for a folder.
    """
    name = ",".join(f"{key}={_UNFIT.sub('_', value).strip('_')}" for key, value in point.items())
    if len(name.encode()) > _LONGEST_NAME:
        raise InputError(
            f"grid: the name {name!r} is too long for a folder; keys of one value can be given as --key value",
            name="grid",
            value=name,
        )
    return name
