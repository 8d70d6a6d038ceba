"""The pages of the reference: every public name, every command, every key of a recipe, as the code has them."""

from __future__ import annotations

import ast
import inspect
import io
import re
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from pyro_vd.cli.commands import COMMANDS
from pyro_vd.cli.main import main
from pyro_vd.cli.parsing import metavar
from pyro_vd.workflow.recipe_files import recipe_sections

PACKAGES = (
    *("", ".models", ".guides", ".distributions", ".inference", ".training", ".pruning", ".compaction", ".runtime", ".export"),
    *(".evaluation", ".posterior", ".data", ".networks", ".plots", ".workflow", ".testing"),
)


def write(folder: Path) -> None:
    """Write the pages, each only where it has changed, so that a second build is quick."""
    pages = {"commands.md": commands(), "recipes.md": recipe_keys()}
    for package in PACKAGES:
        module = import_module(f"pyro_vd{package}")
        pages[f"{module.__name__}.md"] = names_of(module)
    listed = "\n".join(sorted(page.removesuffix(".md") for page in pages if page.startswith("pyro_vd")))
    pages["index.md"] = (
        f"# Reference\n\nEvery public name, by package; and every command with every key of a recipe.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\ncommands\nrecipes\n{listed}\n```\n"
    )
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def names_of(module: ModuleType) -> str:
    """The page of one package."""
    top = module.__name__ == "pyro_vd"
    lines = [f"# {module.__name__}", "", (inspect.getdoc(module) or "").split("\n")[0], ""]
    for name in sorted(module.__all__):
        value = getattr(module, name)
        if isinstance(value, ModuleType) or name.startswith("__"):
            continue
        again = not top and name in import_module("pyro_vd").__all__
        if again:
            lines += [f"`{name}`: see [pyro_vd](pyro_vd.md).", ""]
            continue
        kind = "autoclass" if inspect.isclass(value) else "autofunction" if inspect.isroutine(value) else "autodata"
        home = _home(module, name) if kind == "autodata" else module.__name__
        lines += ["```{eval-rst}", f".. {kind}:: {home}.{name}", "```", ""]
    return "\n".join(lines)


def _home(module: ModuleType, name: str) -> str:
    """The module that defines a constant, where its docstring stands."""
    for statement in ast.parse(inspect.getsource(module)).body:
        if isinstance(statement, ast.ImportFrom) and name in {each.name for each in statement.names}:
            return statement.module or module.__name__
    return module.__name__


def commands() -> str:
    """The page of the commands: what each prints with ``--help``, in 100 columns."""
    parts = [
        "# Commands",
        "",
        "What each command prints with `--help`. The keys of a recipe are on [a page of their own](recipes.md).",
        "",
    ]
    for name, what in COMMANDS.items():
        parts += [f"## pyro-vd {name}", "", f"{what[0].upper()}{what[1:]}.", "", "```text", _help(name), "```", ""]
    return "\n".join(parts)


def recipe_keys() -> str:
    """The page of the keys of a recipe, a table per section."""
    parts = [
        "# Keys of a recipe",
        "",
        "A recipe is a YAML file; keys that it leaves out have their defaults.",
        "On the command line a key has two dashes before it: `pyro-vd train digits --train.epochs 50`.",
        "",
    ]
    for section in recipe_sections():
        title = f"`{section.key}`: {section.title[0].lower()}{section.title[1:]}" if section.key else "At the top"
        parts += [f"## {title}", "", "| key | value | what |", "| --- | --- | --- |"]
        for setting in section.settings:
            value = metavar(*setting.hints).strip("{}").replace(",", ", ")
            value = {"N": "number", "X": "number", "VALUE": ""}.get(value, value)
            cells = (f"`{setting.key}`", value, re.sub(r"([|$<])", r"\\\1", setting.help))
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def _help(command: str) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed), patch.dict("os.environ", {"COLUMNS": "100"}), suppress(SystemExit):
        main([command, "--help"])
    return printed.getvalue().rstrip()
