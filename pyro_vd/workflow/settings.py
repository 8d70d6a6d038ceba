"""The settings of a sweep: what is changed in a recipe, and the runs that train it, one per seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd.workflow.comparison import RunResult, read_results
from pyro_vd.workflow.grid import name_of
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.run_folder import LOG, METRICS, check_run_dir


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: its folder and its recipe."""

    folder: Path
    recipe: Recipe

    @property
    def is_finished(self) -> bool:
        return (self.folder / METRICS).exists()

    @property
    def epochs(self) -> int:
        """The number of epochs of all phases together."""
        return self.recipe.pretrain.epochs + self.recipe.train.epochs + self.recipe.finetune.epochs

    def check(self) -> None:
        """Make sure that the folder, where it exists, holds a run of the same recipe.

        Raises:
            InputError: it holds a run of another recipe, or something else.
        """
        if self.folder.exists():
            check_run_dir(self.folder, self.recipe, resume=True)

    def epochs_done(self) -> int:
        """The number of epochs that are recorded in its log."""
        try:
            return (self.folder / LOG).read_bytes().count(b"\n")
        except OSError:
            return 0


@dataclass(frozen=True)
class Setting:
    """Some keys of a recipe with their values, as text, and the runs that train it by the names of their folders."""

    point: Mapping[str, str]
    runs: Mapping[str, SweepRun]

    @property
    def name(self) -> str:
        """Its keys and values."""
        return name_of(self.point) or "the recipe as it is"

    @property
    def is_finished(self) -> bool:
        """Whether all of its runs are finished."""
        return all(run.is_finished for run in self.runs.values())

    def results(self) -> list[RunResult]:
        """The results of its runs, which are finished."""
        return read_results([run.folder for run in self.runs.values()], list(self.runs))


def make_setting(
    out: Path, recipe_of: Callable[[dict[str, str]], Recipe], point: Mapping[str, str], seeds: Sequence[str]
) -> Setting:
    """A setting whose runs lie in a folder.

    Args:
        out: the folder of all runs.
        recipe_of: gives the recipe with these keys changed.
        point: the keys and their values.
        seeds: of its runs; empty for one run with the seed of the recipe.

    Raises:
        InputError: a value does not fit the recipe, or there are no validation data.
    """
    runs = {}
    for changed in [{**point, "seed": seed} for seed in seeds] or [dict(point)]:
        recipe = recipe_of(changed)
        if not recipe.data.validation:
            raise InputError(
                "data.validation (=0) must be above 0: settings are ranked by their validation score. Hold examples out of the "
                "training data, such as a tenth of them: --data.validation 0.1",
                name="data.validation",
                value=0,
                allowed="above 0",
            )
        runs[name_of(changed)] = SweepRun(out / name_of(changed), recipe)
    return Setting(dict(point), runs)
