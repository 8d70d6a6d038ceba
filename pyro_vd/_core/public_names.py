"""Where a public name is that is not one of ``pyro_vd`` itself, for the message of a failed import."""

from __future__ import annotations

import ast
from pathlib import Path


def place_of(name: str, folder: Path, packages: list[str]) -> str | None:
    """Return the full name of a public function or class of one of the packages, such as ``pyro_vd.models.Normal``, or None.

    Nothing is imported: the packages may need what is not installed.

    Args:
        name: what was asked for.
        folder: that of ``pyro_vd``.
        packages: the names of the packages in it.
    """
    for package in packages:
        for file in ("__init__.pyi", "__init__.py"):
            if (path := folder / package / file).is_file() and name in _listed(path):
                return f"{folder.name}.{package}.{name}"
    return None


def _listed(path: Path) -> list[str]:
    """The names in ``__all__`` of a module's text."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(to, ast.Name) and to.id == "__all__" for to in statement.targets
        ):
            return [str(value) for value in ast.literal_eval(statement.value)]
    return []
