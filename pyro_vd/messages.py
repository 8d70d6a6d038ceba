"""What went wrong, in one line: other libraries' errors in plain words."""

from __future__ import annotations

import re
from argparse import ArgumentError

_MAPPING = "keys and values, {key: value, …}"
_TYPES = {
    "<class 'int'>": "an integer",
    "<class 'float'>": "a finite number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text",
    "<class 'list'>": "a list",
    "<class 'NoneType'>": "null",
    "<class 'collections.abc.Mapping'>": _MAPPING,
}


def one_line(error: BaseException | str) -> str:
    """The message without line breaks; the error's type where it has none."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def parsing_message(error: ArgumentError) -> str:
    """jsonargparse's account of a bad value as ``key (=value) must be …``; any other in one line."""
    text = one_line(error)
    key = re.search(r'Parser key "([^"]+)"', text)
    if key and (config := re.search(r"Unable to load config ['\"](.*?)['\"]", text)):
        return f"{key[1]} (={config[1]}) must be {_MAPPING}, or a YAML file of them"
    value = re.search(r"(?:Got value|Given value): (.*)", text)
    wanted = re.findall(r"Expected an? (<class '.*?'>|typing\.Literal\[.*?\])", text)
    if not (key and value and wanted):
        return text
    allowed = [_TYPES.get(kind, kind.replace("typing.Literal[", "one of ").rstrip("]")) for kind in wanted]
    return f"{key[1]} (={value[1]}) must be {' or '.join(allowed)}"
