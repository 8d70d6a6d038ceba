"""Write the pages of measured results, docs/results, from finished runs and benchmark outputs under ``out/``.

Run ``python benchmarks/measured.py`` after the commands that the pages show. Sections without outputs stay as they are, and
nothing is typed by hand.
"""

from __future__ import annotations

import contextlib
import inspect
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace

import measured_pages
import yaml
from measured_curve import curve
from measured_runs import OUT, ROOT, folder, section
from measured_tables import narrow

from pyro_vd.experiments import NAMES, load_experiment
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe
from pyro_vd.workflow.run_folder import read_metrics

RUNS = {
    "lenet-300-100": (0, 1, 2),
    "lenet-300-100-plain": (0, 1, 2),
    "structured-lenet-300-100": (0, 1, 2),
    "lenet5": (0, 1, 2),
    "structured-lenet5": (0, 1, 2),
    "imdb-lstm": (0,),
    "imdb-lstm-small": (0,),
    "report-mlp3": (0,),
    "digits": (0, 1, 2),
    "diabetes": (0, 1, 2),
}
VARIANTS = {
    "lenet-300-100-plain": {"high": (0,)},
    "lenet5": {"low": (0,)},
}
"""Runs of a recipe with other keys, in folders ``out/RECIPE-NAME-SEED``: they show the error against the compression."""


BENCHMARKS = {
    "soak-report-mlp2": "python benchmarks/soak.py --only report-mlp2",
    "soak-report-mlp3": "python benchmarks/soak.py --only report-mlp3",
}
"""Commands whose output is kept in ``out/NAME.txt``."""


def check(recipe: str, seed: int) -> None:
    """Make sure that a folder is of the command shown for it: this recipe, as it is now, with no key changed but the seed."""
    with contextlib.chdir(ROOT):  # where the commands that the pages show are run
        wanted = asdict(replace(parse_recipe(read_recipe(recipe)), seed=seed).from_anywhere())
    found = asdict(parse_recipe(yaml.safe_load((folder(recipe, seed) / "recipe.yaml").read_text())))
    if found != wanted:
        raise SystemExit(f"{folder(recipe, seed)} is not of the recipe {recipe} as it is now: {found} against {wanted}")


def finished_of(name: str, seeds: Sequence[int]) -> list[int]:
    """The seeds of a recipe or of one of its variants whose runs are complete."""
    return [seed for seed in seeds if (folder(name, seed) / "metrics.json").exists()]


def experiment(name: str) -> list[str]:
    """The section of an experiment: its command, what it does, its table, its figures beside the documentation."""
    module = load_experiment(name)
    lines = [f"## experiment {name}", "", "```", f"pyro-vd experiment {name}", "```", "", inspect.getdoc(module) or "", ""]
    lines += [inspect.getdoc(module.run) or "", "", *narrow((OUT / name / "table.md").read_text().splitlines()), ""]
    for picture in sorted((OUT / name).glob("*.png")):
        path = ROOT / "docs" / "experiments" / f"{name}-{picture.name}"
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, path)
        lines += [f"![{name}: {picture.stem}](../experiments/{path.name})", ""]
    return lines


def of_recipe(recipe: str, seeds: Sequence[int]) -> list[str]:
    """The section of a recipe, with the curve of its variants; empty where no run is finished."""
    finished = finished_of(recipe, seeds)
    for seed in finished:
        check(recipe, seed)
    runs = [read_metrics(folder(recipe, seed)) for seed in finished]
    lines = section(recipe, runs) if runs else []
    if runs and recipe in VARIANTS:
        variants = {variant: finished_of(f"{recipe}-{variant}", own) for variant, own in VARIANTS[recipe].items()}
        lines += curve(recipe, finished, {variant: own for variant, own in variants.items() if own})
    return lines


def of_benchmark(name: str) -> list[str]:
    """The section of a benchmark; empty where it has no output."""
    path = OUT / f"{name}.txt"
    if not path.exists():
        return []
    return [
        f"## {name}",
        "",
        "```",
        f"{BENCHMARKS[name]} | tee out/{name}.txt",
        "```",
        "",
        "```text",
        *path.read_text().splitlines(),
        "```",
        "",
    ]


def main() -> None:
    made = {recipe: of_recipe(recipe, seeds) for recipe, seeds in RUNS.items()}
    made |= {f"experiment {name}": experiment(name) for name in NAMES if (OUT / name / "table.md").exists()}
    made |= {name: of_benchmark(name) for name in BENCHMARKS}
    measured_pages.PAGES.mkdir(exist_ok=True)
    sections = measured_pages.recorded() | {name: lines for name, lines in made.items() if lines}
    for path, text in measured_pages.pages(tuple(RUNS), sections).items():
        path.write_text(text)


if __name__ == "__main__":
    main()
