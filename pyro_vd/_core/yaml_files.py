"""YAML of settings, restricted to what settings need: no aliases, tags, dates or duplicate keys, few levels, a megabyte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.reading import MOST_TEXT, read_text, reading

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 16
_WHAT = "a file of settings in YAML"

# The core schema of YAML 1.2; special forms of 1.1, such as 1:30 for 90, yes for true and 010 for 8, are text here.
_WORDS: dict[str, Any] = {"": None, "~": None, ".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
_WORDS |= {form: value for name, value in (("null", None), ("true", True), ("false", False)) for form in (name, name.title())}
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,5})?")


class SettingsError(yaml.YAMLError):
    """A text that is not YAML of settings. The message gives the line, and does not quote the text."""


def read_yaml(path: Path) -> dict[Any, Any]:
    """Read a YAML file of keys and values, of at most a megabyte.

    Raises:
        InputError: the file is missing, too large, not UTF-8, not YAML, or not keys and values; or it has an alias, a tag, a
            duplicate key, or more than 16 levels. The message does not quote the content.
    """
    with reading(path, _WHAT):
        content = load_yaml(read_text(path, _WHAT))
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "nothing" if content is None else "text or a number"
        message = f"{path} is not a recipe: it holds {kind}, not keys and values"
        raise InputError(message, name=str(path), value=kind, allowed="keys and values")
    return content


def load_yaml(text: str) -> Any:
    """Parse YAML into dicts, lists, text, numbers, truth values and None.

    Raises:
        SettingsError: the text is too long, not YAML, or has a construct that :func:`read_yaml` refuses.
    """
    if len(text) > MOST_TEXT:
        raise SettingsError(f"it has {len(text):,} characters; at most {MOST_TEXT:,} are allowed")
    events = yaml.parse(text, Loader=_LOADER)
    try:
        next(events)  # the start
        if isinstance(next(events), yaml.StreamEndEvent):
            return None
        tree = _tree(next(events), events, _DEEPEST)
        next(events)  # the document's end
        if not isinstance(next(events), yaml.StreamEndEvent):
            raise SettingsError("it holds several documents; one is allowed")
    except SettingsError:
        raise
    except yaml.MarkedYAMLError as error:  # its own text quotes the file
        raise SettingsError(f"{error.problem or 'not YAML'}{_line(error.problem_mark)}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError("it is no text that YAML allows") from error
    return tree


def dump_yaml(tree: Any) -> str:
    """Write dicts, lists, text, numbers, truth values and None as YAML from which :func:`load_yaml` gives the same again."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """Quotes text that would be read as something else; PyYAML does so only for YAML 1.1, where 1e5 and 08 are text."""


def _represented(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(_scalar(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represented)


def from_text(name: str, text: str, *hints: Any) -> Any:
    """Convert a text on the command line: to itself if the option may be text, otherwise from YAML.

    Args:
        name: the name of the option, for messages.
        text: the text that was given.
        hints: the types that the option may have; the result is not checked against them.

    Raises:
        InputError: the text is not a value in YAML.
    """
    if any(_may_be_text(hint) for hint in hints) and not (text == "null" and str not in hints):
        return text
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        message = f"{name} (={quoted(text)}) cannot be read as a value in YAML: {error}"
        raise InputError(message, name=name, value=text, allowed="a value in YAML") from error


def _may_be_text(hint: Any) -> bool:
    return hint is str or (get_origin(hint) in (Union, UnionType) and str in get_args(hint))


def _tree(event: Any, events: Iterator[Any], levels: int) -> Any:
    where = _line(event.start_mark)
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise SettingsError(f"aliases and anchors, * and &, are not allowed{where}")
    if event.tag is not None:
        raise SettingsError(f"tags, !, are not allowed{where}")
    if not levels:
        raise SettingsError(f"more than {_DEEPEST} levels{where}")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event.value) if event.implicit[0] else event.value
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            items.append(_tree(item, events, levels - 1))
        return items
    content: dict[Any, Any] = {}
    while not isinstance(name := next(events), yaml.MappingEndEvent):
        if not isinstance(name, yaml.ScalarEvent):
            raise SettingsError(f"a key must be text or a number{_line(name.start_mark)}")
        key = _tree(name, events, levels)
        if key in content:
            raise SettingsError(f"a key is given twice{_line(name.start_mark)}")
        content[key] = _tree(next(events), events, levels - 1)
    return content


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 16 if text.startswith("0x") else 10)
    return float(text) if _FLOAT.fullmatch(text) else text


def _line(mark: Any) -> str:
    return f", line {mark.line + 1}" if mark is not None else ""
