"""The built-in recipes, YAML files in this folder, by name. Their settings are read by :mod:`pyro_vd.workflow`."""

from __future__ import annotations

from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import must_be_one_of


def recipes() -> dict[str, tuple[Path, str]]:
    """The built-in recipes by name: the file, and the description in its first line."""
    files = sorted(Path(__file__).parent.glob("*.yaml"))
    return {path.stem: (path, path.read_text("utf-8").splitlines()[0].lstrip("# ")) for path in files}


def recipe_path(name: str) -> Path:
    """The file of a built-in recipe, or the path itself if it is a YAML file.

    Raises:
        InputError: neither.
    """
    built_in = recipes()
    if name in built_in:
        return built_in[name][0]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    raise InputError(must_be_one_of("recipe", name, built_in, ", or the path of a .yaml file that exists"))
