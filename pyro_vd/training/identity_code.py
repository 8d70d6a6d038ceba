"""What a function does, as text: its code without its place in a file, and the names that it uses."""

from __future__ import annotations

import dis
import functools
import operator
import sys
import sysconfig
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


def code_text(code: types.CodeType) -> str:
    """What a function does, without file and line numbers."""
    constants = [code_text(each) if isinstance(each, types.CodeType) else _constant(each) for each in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars
    return f"{code.co_code.hex()} {names} {code.co_argcount} {code.co_kwonlyargcount} {code.co_flags} {constants}"


def _constant(value: object) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def names_in(code: types.CodeType) -> set[str]:
    """Global names that a function, and the functions defined inside it, look up."""
    inner = (names_in(each) for each in code.co_consts if isinstance(each, types.CodeType))
    own = {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return functools.reduce(operator.or_, inner, own)  # the code's ``co_names`` would include names of attributes


def name_of(kind: type | Callable[..., Any]) -> str:
    return f"{module_prefix(kind.__module__)}{kind.__qualname__}"


def module_prefix(module: str | None) -> str:
    """The module's name and a dot; nothing for this library and for builtins."""
    top = (module or "builtins").partition(".")[0]
    return "" if top in ("pyro_vd", "builtins") else f"{module}."


def is_installed(module: str | None) -> bool:
    """Whether a module comes with Python, this library or another package."""
    if (module or "builtins").partition(".")[0] in ("pyro_vd", "builtins"):
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    if file is None:
        return module in sys.builtin_module_names
    return any(Path(file).is_relative_to(folder) for folder in _INSTALLED if folder)
