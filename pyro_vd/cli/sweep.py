"""``pyro-vd sweep``: a recipe with many settings, several runs at a time, in one or more terminals."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyro_vd._core.errors import InputError
from pyro_vd.cli.parsing import Parser
from pyro_vd.cli.recipe_options import RecipeArguments, read_recipe_arguments

if TYPE_CHECKING:
    from pyro_vd.data.dataset import Dataset
    from pyro_vd.workflow.plans import Grid, Search
    from pyro_vd.workflow.recipe import Recipe
    from pyro_vd.workflow.settings import Setting

_MORE = (
    "Settings are ranked by their validation score, the mean over the seeds; the test data are shown for the best one alone. "
    "Every run has a folder of its own in the output folder; a run that fails does not stop the others. The same command, "
    "given again, goes on from where it was stopped: finished runs are left as they are, failed runs are tried again. Given in "
    "several terminals, or on several machines that share the folder, each takes runs that nobody works on."
)
_TRIALS = 20


def run(arguments: list[str]) -> None:
    """Carry the command out; exit code 1 if a run has failed."""
    parser = Parser(
        "sweep RECIPE {--grid KEY=V1,V2 … | --search KEY=LOW..HIGH …} [--seeds N] [--jobs N] [--out DIR] [--KEY VALUE …]", _MORE
    )
    parser.value(
        "--grid", str, "keys of the recipe, each with the values to try: every combination", nargs="+", action="extend"
    )
    ranges = "KEY=LOW..HIGH, KEY=log:LOW..HIGH or KEY=V1,V2"
    parser.value("--search", str, f"keys of the recipe, each with what is drawn for it: {ranges}", nargs="+", action="extend")
    parser.value("--trials", int, f"how many settings --search draws (default: {_TRIALS})")
    samplers = "how --search draws: tpe, near settings that were good; random (default: tpe)"
    parser.value("--sampler", Literal["tpe", "random"], samplers)
    parser.value("--seeds", int, "train each setting with the seeds from 0 to N-1, like --grid seed=0,1,…")
    parser.flag(
        "--stop-hopeless",
        "stop a setting that, at the same share of the training after the KL warm-up, is among the worst quarter of the "
        "complete ones, from the sixth setting on; which ones depends on the order in which runs end",
    )
    parser.value("--jobs", int, "runs at the same time (default: the number of cores divided by the recipe's threads)")
    choices = (
        "score: the best validation score (default); sparse: the fewest weights among those within one standard error of it"
    )
    parser.value("--best", Literal["score", "sparse"], choices, default="score")
    parser.value("--out", str, "output folder (default: out/sweep-RECIPE)")
    given = read_recipe_arguments(parser, arguments)
    values = given.values

    from pyro_vd._core.arguments import check_number
    from pyro_vd._core.extras import check_installed

    check_installed("pyro-vd sweep", "optuna")

    from pyro_vd.workflow.recipe_data import data_of, resolved
    from pyro_vd.workflow.settings import SweepRun, make_setting
    from pyro_vd.workflow.shared_sweep import SharedSweep
    from pyro_vd.workflow.sweep import run_sweep
    from pyro_vd.workflow.sweep_folder import open_study
    from pyro_vd.workflow.sweep_progress import SweepProgress
    from pyro_vd.workflow.sweep_report import SweepReport

    if values.jobs is not None:
        check_number("jobs", values.jobs, low=1, whole=True)
    out = Path(values.out or Path("out") / f"sweep-{given.path.stem}")
    if out.exists() and not out.is_dir():
        message = f"output folder (={str(out)!r}) is a file; choose another with --out"
        raise InputError(message, name="output folder", value=str(out))

    loaded: dict[str, Dataset] = {}

    def recipe_of(point: dict[str, str]) -> Recipe:
        recipe = given.recipe(point)
        key = str(recipe.data)
        if key not in loaded:
            loaded[key] = data_of(recipe)
        return resolved(recipe, loaded[key])  # as it stands in the folder of a run

    def make(point: Mapping[str, str], seeds: Sequence[str]) -> Setting:
        setting = make_setting(out, recipe_of, point, seeds)
        for run in setting.runs.values():
            run.check()
        return setting

    plan, points = _plan(given)
    settings = [make(point, plan.seeds) for point in points]
    _refuse_same(settings)
    recipes = [run.recipe for setting in settings for run in setting.runs.values()]
    study = open_study(out, given.recipe(points[0]), list(points[0]), values.search, plan.seeds)
    sweep = SharedSweep(study, plan, make)
    jobs = values.jobs or max(1, (os.cpu_count() or 1) // max(recipe.threads for recipe in recipes))
    total = plan.size() * max(1, len(plan.seeds))

    with SweepProgress(total, shown=not values.quiet) as progress:

        def tick(running: Mapping[str, SweepRun]) -> None:
            progress.tick(running, sweep.ended())

        run_sweep(sweep, jobs, values.stop_hopeless, tick, progress.end)
    report = SweepReport(out, sweep, total, values.best)
    if values.json:
        report.print_json()
    else:
        report.print_tables()
    if report.failed:
        sys.exit(1)


def _plan(given: RecipeArguments) -> tuple[Grid | Search, list[dict[str, str]]]:
    """What is tried, and points of it to check before anything is written: of a grid all, of a search the ends of each key."""
    from pyro_vd._core.arguments import check_number
    from pyro_vd.workflow.grid import combinations, read_grid
    from pyro_vd.workflow.plans import Grid, Search
    from pyro_vd.workflow.search_space import read_search

    values = given.values
    grid = read_grid(values.grid or [])
    if values.seeds is not None:
        check_number("seeds", values.seeds, low=1, high=10_000, whole=True)
        if "seed" in grid:
            raise InputError("give --seeds or --grid seed=…, not both", name="seeds", value=values.seeds)
        grid["seed"] = [str(seed) for seed in range(values.seeds)]
    seeds = grid.pop("seed", [])
    if values.search is None:
        for name in ("trials", "sampler"):
            if (value := getattr(values, name)) is not None:
                raise InputError(f"{name} (={value}) is for --search; --grid tries every combination", name=name, value=value)
        if not grid and not seeds:
            raise InputError(
                "sweep needs the settings to try: --grid key=v1,v2, --search key=low..high or --seeds N",
                name="grid",
                value=None,
            )
        points = combinations(grid)
        return Grid(points, seeds), points
    if grid:
        key = next(iter(grid))
        raise InputError(
            f"grid (={key!r}) and search cannot both be given; --{key} VALUE sets one value, --search {key}=V1,V2 draws one of "
            "several",
            name="grid",
            value=key,
        )
    space = read_search(values.search)
    trials = check_number("trials", _TRIALS if values.trials is None else values.trials, low=1, whole=True)
    first = {key: each.ends()[0] for key, each in space.items()}
    points = [first, *({**first, key: end} for key, each in space.items() for end in each.ends()[1:])]
    return Search(space, seeds, trials, values.sampler != "random", given.recipe(first).seed), points


def _refuse_same(settings: Sequence[Setting]) -> None:
    """Refuse two settings that have the same runs.

    Raises:
        InputError: naming both.
    """
    from pyro_vd.workflow.recipe_files import recipe_text

    names: set[str] = set()
    same: dict[str, str] = {}
    for setting in settings:
        for name, run in setting.runs.items():
            if name in names or (other := same.setdefault(recipe_text(run.recipe), name)) != name:
                same_as = name if name in names else other
                raise InputError(f"sweep: {name!r} is the same run as {same_as!r}", name="grid", value=name)
            names.add(name)
