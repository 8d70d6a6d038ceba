"""Write runs/README.md from finished runs and benchmark outputs under ``out/``; nothing in it is typed by hand.

Run ``python benchmarks/measured.py`` after the commands that the file itself shows. Sections without outputs stay as they are.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import yaml
from measured_curve import curve
from measured_runs import OUT, ROOT, folder, section

from pyro_vd.experiments import NAMES, load_experiment
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe
from pyro_vd.workflow.run_folder import read_metrics

README = ROOT / "runs" / "README.md"
COUNTED = (
    "Compression is |W| / |W kept|: W are all weights of the network, its parameters of two dimensions or more, biases not",
    "counted; a weight without a prior counts as kept. All weights of the networks below have one. Where parameters and bytes",
    "stand beside it, they are those of the compact network, in a file of every number or of the non-zeros only.",
    "",
    "Runs on cuda, and lenet-300-100-plain, were made side by side, 16 at a time, on a machine with one NVIDIA H100 and 16",
    "virtual cores, in less than eight minutes in all. That set their numbers of epochs, and times of single runs are of that",
    "sharing. vgg-like and resnet20, for CIFAR-10, were tried for two epochs of each phase, and not trained in full.",
)
RUNS = {
    "lenet-300-100": (0, 1, 2),
    "lenet-300-100-plain": (0, 1, 2),
    "structured-lenet-300-100": (0, 1, 2),
    "lenet5": (0, 1, 2),
    "structured-lenet5": (0, 1, 2),
    "imdb-lstm": (0,),
    "report-mlp3": (0,),
    "digits": (0, 1, 2),
    "diabetes": (0, 1, 2),
}
VARIANTS = {
    "lenet-300-100-plain": {"low": (0, 1, 2)},
    "lenet5": {"low": (0,)},
    "imdb-lstm": {"words3": (0,), "words10": (0,)},
}
"""Runs of a recipe with other keys, in folders ``out/RECIPE-NAME-SEED``: they show the error against the compression."""
BENCHMARKS = {
    "soak-report-mlp2": "python benchmarks/soak.py --only report-mlp2",
    "soak-report-mlp3": "python benchmarks/soak.py --only report-mlp3",
    "step_time": "python benchmarks/step_time.py",
    "shrinking": "python benchmarks/shrinking.py --recipe lenet-300-100 --seeds 3",
    "inference": "python benchmarks/inference.py out/lenet-300-100-0",
}


def check(recipe: str, seed: int) -> None:
    """Make sure that a folder is of the command shown for it: this recipe, as it is now, with no key changed but the seed."""
    wanted = asdict(replace(parse_recipe(read_recipe(recipe)), seed=seed))
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
    lines += [inspect.getdoc(module.run) or "", "", *(OUT / name / "table.md").read_text().splitlines(), ""]
    for picture in sorted((OUT / name).glob("*.png")):
        path = ROOT / "docs" / "experiments" / f"{name}-{picture.name}"
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, path)
        lines += [f"![{name}: {picture.stem}](../{path.relative_to(ROOT)})", ""]
    return lines


def sections() -> dict[str, list[str]]:
    """The sections of the file as it is, by title."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in README.read_text().splitlines() if README.exists() else []:
        if line.startswith("## "):
            lines = found[line.removeprefix("## ")] = []
        lines.append(line)
    return found


def main() -> None:
    kept = sections()
    lines = [
        "# Measured results",
        "",
        "Made by `python benchmarks/measured.py` from the runs and outputs of the commands below; not edited by hand. Nothing",
        "was chosen on the test data, which a run looks at only when all is trained and pruned.",
        "",
        *COUNTED,
        "",
    ]
    for recipe, seeds in RUNS.items():
        finished = finished_of(recipe, seeds)
        for seed in finished:
            check(recipe, seed)
        runs = [read_metrics(folder(recipe, seed)) for seed in finished]
        lines += section(recipe, runs) if runs else kept.get(recipe, [])
        if runs and recipe in VARIANTS:
            variants = {variant: finished_of(f"{recipe}-{variant}", own) for variant, own in VARIANTS[recipe].items()}
            lines += curve(recipe, finished, {variant: own for variant, own in variants.items() if own})
    for name in NAMES:
        lines += experiment(name) if (OUT / name / "table.md").exists() else kept.get(f"experiment {name}", [])
    for name, command in BENCHMARKS.items():
        path = OUT / f"{name}.txt"
        made = [f"## {name}", "", "```", f"{command} | tee out/{name}.txt", *lines_of(path), "```", ""]
        lines += made if path.exists() else kept.get(name, [])
    README.write_text("\n".join(lines).rstrip() + "\n")


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
