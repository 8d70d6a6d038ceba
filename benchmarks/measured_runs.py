"""The section of one recipe in the measured results: tables, published numbers, and pictures."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path
from typing import Any

from measured_goals import verdict
from measured_tables import table

from pyro_vd._core.storage import save_figure
from pyro_vd._core.yaml_files import read_yaml
from pyro_vd.evaluation.deployed import kilobytes
from pyro_vd.evaluation.score import score_in
from pyro_vd.evaluation.standard_error import share_interval
from pyro_vd.networks.layers import named_weights
from pyro_vd.plots.sizes import Deployed, before_and_after
from pyro_vd.workflow.finished_run import run_pruned
from pyro_vd.workflow.run_folder import read_metrics
from pyro_vd.workflow.tables import (
    SIZES,
    SPARSITY,
    chance_of_coverage,
    size_spreads,
    sparsities,
    sparsity_by_site,
    spread,
    units_text,
)

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out"
CLASSES = {
    "error %": ("error", 100, 2),
    "NLL": ("nll", 1, 4),
    "ROC-AUC": ("roc_auc", 1, 4),
    "ECE": ("ece", 1, 4),
    "Brier": ("brier", 1, 4),
}
"""Columns of classes: the measure, what it is multiplied by, and the digits that are shown."""
NUMBERS = {
    "RMSE": ("rmse", 1, 2),
    "NLL": ("nll", 1, 4),
    "% in 50 % interval": ("coverage_50", 100, 1),
    "% in 90 % interval": ("coverage_90", 100, 1),
}
"""The same of numbers."""


def folder(recipe: str, seed: int) -> Path:
    return OUT / f"{recipe}-{seed}"


def columns(runs: list[dict[str, Any]]) -> dict[str, tuple[str, int, int]]:
    return NUMBERS if "rmse" in runs[0]["networks"]["pruned"] else CLASSES


def size_columns(runs: list[dict[str, Any]]) -> tuple[str, ...]:
    """Those that all runs have: earlier versions measured the compression alone."""
    return SIZES if all("deployed" in network for run in runs for network in run["networks"].values()) else SIZES[:1]


def quality_rows(runs: list[dict[str, Any]]) -> list[list[str]]:
    """The cells of the scores, a row per network."""
    rows = []
    for name in runs[0]["networks"]:
        networks = [run["networks"][name] for run in runs]
        scores = (spread([factor * n[key] for n in networks], digits) for key, factor, digits in columns(runs).values())
        rows.append([name, *scores])
    return rows


def size_rows(runs: list[dict[str, Any]]) -> list[list[str]]:
    """The cells of the sizes, a row per network."""
    rows = []
    for name in runs[0]["networks"]:
        networks = [run["networks"][name] for run in runs]
        shares = [sparsity_by_site(n["layers"]) for n in networks]
        sparsity = {site: statistics.mean(share[site] for share in shares) for site in shares[0]}
        rows.append([name, *size_spreads(networks)[: len(size_columns(runs))], sparsities(sparsity)])
    return rows


def section(recipe: str, runs: list[dict[str, Any]]) -> list[str]:
    seconds = [sum(run["seconds"].values()) for run in runs]
    seeds = ", ".join(str(run["seed"]) for run in runs)
    took = spread([s / 60 for s in seconds], 1) + " minutes" if max(seconds) >= 60 else spread(seconds, 1) + " seconds"
    pruned = [run["networks"]["pruned"] for run in runs]
    errors = [str(score_in(net)).removeprefix("error ") for net in pruned]
    files = [f", {kilobytes(net['deployed']['sparse_bytes'])}" if net.get("deployed") else "" for net in pruned]
    per_seed = "; ".join(
        f"{error} at {net['compression']:.1f}x{file}" for error, net, file in zip(errors, pruned, files, strict=True)
    )
    recipe_text = (ROOT / "runs" / f"{recipe}.yaml").read_text().rstrip()
    versions = ", ".join(f"{name} {value}" for name, value in runs[0]["versions"].items())
    processes = runs[0].get("processes", 1)
    command, in_processes = "pyro-vd", ""
    if processes > 1:
        command, in_processes = f"torchrun --nproc_per_node={processes} -m pyro_vd", f" in each of {processes} processes"
    lines = [
        f"## {recipe}",
        "",
        "```",
        *(
            f"{command} train {recipe} --seed {run['seed']} --out {folder(recipe, run['seed']).relative_to(ROOT)}"
            for run in runs
        ),
        "```",
        "",
        f"The recipe, `runs/{recipe}.yaml`; `kl_weight` is β, and at β = 1 the loss is the ELBO:",
        "",
        "```yaml",
        recipe_text,
        "```",
        "",
        f"Test data of {runs[0]['data']}; seeds {seeds}; mean ± standard deviation over seeds. Threshold on log α "
        f"{runs[0]['threshold']:g}. Training took {took} of wall clock "
        f"with {runs[0]['threads']} thread(s){in_processes} on {runs[0]['device']}; "
        f"{sum(run['skipped'] for run in runs)} steps were skipped. {versions}.{started_from(recipe, runs)}",
        "",
        *table(["network", *columns(runs)], quality_rows(runs)),
        *table(["network", *size_columns(runs), SPARSITY], size_rows(runs)),
        f"Pruned, seed by seed: {per_seed}.",
    ]
    if columns(runs) is NUMBERS:
        examples, rmse_se = runs[0]["test_size"], statistics.mean(net["rmse_se"] for net in pruned)
        half, ninety = (chance_of_coverage(level, examples) for level in (50, 90))
        lines.append(
            f'With {examples} test examples the RMSE of one network has a standard error of {rmse_se:.1f} (of "pruned"), and '
            f"the coverage of right intervals varies by {half:.1f} and {ninety:.1f} percentage points."
        )
    if recipe.startswith("structured"):
        sizes = "; ".join(
            f"{units_text(size['units'])} with {size['parameters']:,} parameters and {size['flops']:,} FLOPs"
            for size in (run["compact"] for run in runs)
        )
        lines.append(f"Compact, inputs and units that are left, seed by seed: {sizes}.")
    if "words_left" in runs[0]:
        left = runs[0]["words_left"]
        lines.append(f"Words left, {len(left):,} of {runs[0]['words']:,}, the most frequent first: {listed(left)}.")
    found = verdict(recipe, runs, [folder(recipe, run["seed"]) for run in runs])
    has_file = (folder(recipe, runs[0]["seed"]) / "pruned.safetensors").exists()
    if found and has_file and "deployed" in runs[0]["networks"].get("pretrained", {}) and columns(runs) is CLASSES:
        text = "the test error against the size of the file, before and after, and the weights that are left"
        found += ["", f"![{recipe}: {text}]({draw(recipe, runs)})"]
    lines += found
    return [*lines, "", *animation(recipe, runs[0]["seed"])]


def started_from(recipe: str, runs: list[dict[str, Any]]) -> str:
    """A sentence on the run that the training of the first seed went on from; empty where it started anew."""
    start = read_yaml(folder(recipe, runs[0]["seed"]) / "recipe.yaml")["train"].get("start_from")
    if start is None:
        return ""
    minutes = sum(read_metrics(Path(start))["seconds"].values()) / 60
    return f" It started from `{Path(start).relative_to(ROOT)}`, whose own training of {minutes:.1f} minutes is not counted."


def listed(words: list[str], most: int = 300) -> str:
    """The first of some words, as text that Markdown leaves as it is."""
    return f"``{' '.join(words[:most])}``" + (" …" if len(words) > most else "")


def animation(recipe: str, seed: int) -> list[str]:
    """What ``pyro-vd animate`` made of a run with frames, copied beside the documentation; nothing if there is none."""
    run = folder(f"{recipe}-film", seed)
    if not (run / "animation.gif").exists():
        return []
    out, frames = run.relative_to(ROOT), read_yaml(run / "recipe.yaml")["train"]["frames"]
    train = f"pyro-vd train {recipe} --seed {seed} --train.frames {frames} --out {out}"
    lines = ["```", train, f"pyro-vd animate {out}", "```", ""]
    for name, text in (("animation.gif", "the weights while training"), ("first-layer.png", "the first layer, unit by unit")):
        shutil.copyfile(run / name, ROOT / "docs" / f"{recipe}-{name}")
        lines += [f"![{recipe}: {text}](../{recipe}-{name})", ""]
    return lines


def draw(recipe: str, runs: list[dict[str, Any]]) -> str:
    """The picture of the runs of a recipe, written beside the documentation; its path as seen from docs/results/."""
    net = run_pruned(folder(recipe, runs[0]["seed"]))
    masks = {name: weight != 0 for name, weight in named_weights(net)}
    figure = before_and_after(*([deployed(run, name) for run in runs] for name in ("pretrained", "pruned")), masks)
    path = ROOT / "docs" / f"{recipe}.png"
    path.parent.mkdir(exist_ok=True)
    save_figure(figure, path)
    return f"../{path.name}"


def deployed(run: dict[str, Any], name: str) -> Deployed:
    """What would be deployed of a network of a run with classes."""
    network = run["networks"][name]
    interval = share_interval(network["error"], run["test_size"])
    return Deployed(network["deployed"]["sparse_bytes"], score_in(network), interval)
