"""The folder of a sweep: one sweep per folder, which the same command joins or goes on with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyro_vd._core.errors import InputError
from pyro_vd._core.settings import tree_of
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.run_folder import differences_of
from pyro_vd.workflow.study import Study

FILES = ".sweep"
"""The folder of Optuna's journal and the locks, within that of the sweep."""


def open_study(out: Path, recipe: Recipe, varied: Sequence[str], search: Sequence[str] | None, seeds: Sequence[str]) -> Study:
    """The trials of the sweep in a folder; the first process that opens it notes what the sweep is.

    Settings can be added to a grid, and trials to a search.

    Args:
        out: the folder.
        recipe: of one of the settings.
        varied: the keys in which settings differ, besides the seed.
        search: what a search draws, as text; None for a grid.
        seeds: of each setting.

    Raises:
        InputError: the folder holds a sweep of another recipe, a grid in place of a search, or another search.
        OSError: the folder cannot be written to, or its file system has no locks.
    """
    study = Study(out / FILES)
    wanted: dict[str, Any] = {
        "recipe": {**tree_of(recipe.from_anywhere()), "seed": None},
        "varied": list(varied),
        "search": None if search is None else [*sorted(search), *([f"{len(seeds)} seeds"] if seeds else [])],
    }
    with study.lock:
        found = study.about
        if "recipe" not in found:
            for key in reversed(wanted):  # the recipe comes last
                study.note(key, wanted[key])
            return study
    free = {*varied, *found["varied"]}
    different = [
        line
        for line in sorted(differences_of(found["recipe"], wanted["recipe"]))
        if not any(line.startswith((f"{key} ", f"{key}.")) for key in free)
    ]
    if found["search"] != wanted["search"]:
        there, here = (f"a search of {', '.join(each['search'])}" if each["search"] else "a grid" for each in (found, wanted))
        different.append(f"there {there}, here {here}")
    if different:
        raise InputError(
            f"{out} holds another sweep: {'; '.join(different)}. Choose another folder with --out",
            name="output folder",
            value=str(out),
            allowed="a new folder, or one of the same sweep",
        )
    return study
