"""``pyro-vd sweep``: a recipe with every combination of some values, several runs at a time."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
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
    parser = Parser("sweep RECIPE --grid KEY=V1,V2 … [--seeds N] [--jobs N] [--out DIR] [--KEY VALUE …]", _MORE)
    parser.value("--grid", str, "keys of the recipe, each with the values to try", nargs="+", action="extend")
    parser.value("--seeds", int, "try the seeds from 0 to N-1, like --grid seed=0,1,…")
    parser.value("--jobs", int, "runs at the same time (default: the number of cores divided by the recipe's threads)")
    parser.value("--out", str, "output folder (default: out/sweep-RECIPE)")
    given = read_recipe_arguments(parser, arguments)
    values = given.values

    from pyro_vd._core.arguments import check_number
    from pyro_vd._core.storage import as_json
    from pyro_vd.workflow.comparison import differences, read_results, same_but_seed
    from pyro_vd.workflow.grid import name_of, read_grid
    from pyro_vd.workflow.recipe_files import recipe_text
    from pyro_vd.workflow.sweep import SweepRun, run_sweep
    from pyro_vd.workflow.sweep_progress import SweepProgress
    from pyro_vd.workflow.tables import print_results, print_table

    texts = list(values.grid or [])
    if values.seeds is not None:
        check_number("seeds", values.seeds, low=1, high=10_000, whole=True)
        texts.append(f"seed={','.join(map(str, range(values.seeds)))}")
    if not texts:
        raise InputError("sweep needs the values to try: --grid key=v1,v2 or --seeds N", name="grid", value=None)
    if values.jobs is not None:
        check_number("jobs", values.jobs, low=1, whole=True)
    out = Path(values.out or Path("out") / f"sweep-{given.path.stem}")
    if out.exists() and not out.is_dir():
        message = f"output folder (={str(out)!r}) is a file; choose another with --out"
        raise InputError(message, name="output folder", value=str(out))

    runs: dict[str, SweepRun] = {}
    same: dict[str, str] = {}
    for point in read_grid(texts):
        recipe = given.recipe(point)
        name = name_of(point)
        if name in runs or (other := same.setdefault(recipe_text(recipe), name)) != name:
            same_as = name if name in runs else other
            raise InputError(f"grid: {name!r} is the same run as {same_as!r}", name="grid", value=name)
        runs[name] = SweepRun(out / name, recipe)
    for run in runs.values():
        run.check()
    jobs = values.jobs or max(1, (os.cpu_count() or 1) // max(run.recipe.threads for run in runs.values()))
    with SweepProgress(runs, shown=not values.quiet) as progress:
        errors = run_sweep(runs, jobs, progress.tick, progress.end)

    finished = [name for name in runs if name not in errors]
    results = read_results([runs[name].folder for name in finished], names=finished)
    notes = differences(results)
    if values.json:
        content = {"out": str(out), "runs": [asdict(result) for result in results], "failed": errors, "notes": notes}
        print(as_json(content))
    else:
        if results:
            print_results(f"{out}: pruned networks, sorted by error", results, notes, same_but_seed(results, out))
        if errors:
            print_table(f"failed, {len(errors)} of {len(runs)}", ["run", "why"], list(errors.items()), numbers=False)
    if errors:
        sys.exit(1)
