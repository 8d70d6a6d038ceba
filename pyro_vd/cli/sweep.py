"""``pyro-vd sweep``: a recipe with every combination of some values, several runs at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd.cli.parsing import Parser
from pyro_vd.cli.recipe_options import read_recipe_arguments

_MORE = (
    "Every run has a folder of its own in the output folder; a run that fails does not stop the others. The same command, "
    "given again, goes on from where it was stopped: finished runs are left as they are, failed runs are tried again."
)


def run(arguments: list[str]) -> None:
    """Carry the command out; exit code 1 if a run has failed."""
    from pyro_vd._core.arguments import check_number
    from pyro_vd._core.storage import as_json
    from pyro_vd.workflow.comparison import differences
    from pyro_vd.workflow.grid import combinations, read_grid
    from pyro_vd.workflow.ranking import Choice, best_of, rank
    from pyro_vd.workflow.ranking_table import best_tree, print_best, print_ranking, ranking_tree
    from pyro_vd.workflow.recipe_files import recipe_text
    from pyro_vd.workflow.settings import make_setting, measured
    from pyro_vd.workflow.sweep import SweepRun, run_sweep
    from pyro_vd.workflow.sweep_progress import SweepProgress
    from pyro_vd.workflow.tables import print_table

    parser = Parser("sweep RECIPE --grid KEY=V1,V2 … [--seeds N] [--jobs N] [--out DIR] [--KEY VALUE …]", _MORE)
    parser.value("--grid", str, "keys of the recipe, each with the values to try", nargs="+", action="extend")
    parser.value("--seeds", int, "train each setting with the seeds from 0 to N-1, like --grid seed=0,1,…")
    parser.value("--jobs", int, "runs at the same time (default: the number of cores divided by the recipe's threads)")
    choices = "score: the best validation score (default); sparse: the fewest weights within one standard error of it"
    parser.value("--best", Choice, choices, default="score")
    parser.value("--out", str, "output folder (default: out/sweep-RECIPE)")
    given = read_recipe_arguments(parser, arguments)
    values = given.values

    grid = read_grid(values.grid or [])
    if values.seeds is not None:
        check_number("seeds", values.seeds, low=1, high=10_000, whole=True)
        if "seed" in grid:
            raise InputError("give --seeds or --grid seed=…, not both", name="seeds", value=values.seeds)
        grid["seed"] = [str(seed) for seed in range(values.seeds)]
    if not grid:
        raise InputError("sweep needs the values to try: --grid key=v1,v2 or --seeds N", name="grid", value=None)
    if values.jobs is not None:
        check_number("jobs", values.jobs, low=1, whole=True)
    out = Path(values.out or Path("out") / f"sweep-{given.path.stem}")
    if out.exists() and not out.is_dir():
        message = f"output folder (={str(out)!r}) is a file; choose another with --out"
        raise InputError(message, name="output folder", value=str(out))

    seeds = grid.pop("seed", [])
    settings = [make_setting(out, given.recipe, point, seeds) for point in combinations(grid)]
    runs: dict[str, SweepRun] = {}
    same: dict[str, str] = {}
    for setting in settings:
        for name, run in setting.runs.items():
            if name in runs or (other := same.setdefault(recipe_text(run.recipe), name)) != name:
                same_as = name if name in runs else other
                raise InputError(f"grid: {name!r} is the same run as {same_as!r}", name="grid", value=name)
            runs[name] = run
    for run in runs.values():
        run.check()
    jobs = values.jobs or max(1, (os.cpu_count() or 1) // max(run.recipe.threads for run in runs.values()))
    with SweepProgress(runs, shown=not values.quiet) as progress:
        errors = run_sweep(runs, jobs, progress.tick, progress.end)

    found = measured(settings, errors)
    notes = differences([result for results in found.values() for result in results])
    ranked = rank(found)
    best = best_of(ranked, values.best) if ranked else None
    if values.json:
        content = {
            "out": str(out),
            "settings": ranking_tree(ranked),
            "failed": errors,
            "notes": notes,
            "best": best and best_tree(best, values.best, out),
        }
        print(as_json(content))
    else:
        if ranked:
            print_ranking(f"{out}: settings, sorted by validation score", ranked, notes)
        if errors:
            print_table(f"failed, {len(errors)} of {len(runs)}", ["run", "why"], list(errors.items()), numbers=False)
        if best:
            print_best(best, values.best, out)
    if errors:
        sys.exit(1)
