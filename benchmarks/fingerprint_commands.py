"""What ``fingerprint.py`` takes digests of, on the command line: by name, a function that gives the parts of a result.

Of what a command prints the numbers of its JSON count, and the tensors and histories in the folder of its run.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fingerprint_trainings import Parts, inference_data, parameters
from safetensors.torch import load_file

import pyro_vd as vd
from pyro_vd.cli.main import main as command_line
from pyro_vd.experiments import NAMES as EXPERIMENTS
from pyro_vd.training.frame_files import read_frames
from pyro_vd.workflow.recipe_files import read_recipe
from pyro_vd.workflow.run_folder import read_history


def command(*arguments: object) -> Any:
    """What a command says with ``--json``."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            command_line([*map(str, arguments), "--json"])
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{arguments} ended with {end.code}") from end
    return json.loads(said.getvalue())


DIGITS = (
    "--model.sizes [64,32,10] --pretrain.epochs 3 --train.epochs 5 --train.lr 0.01 --train.guide.log_sigma2 -3 "
    "--train.kl_weight.value 1 --train.kl_weight.end 0 --finetune.epochs 2 --device cpu --quiet"
)
DIABETES = "--pretrain.epochs 3 --train.epochs 20 --train.guide.log_sigma2 -3 --device cpu --quiet"


def commands(recipe: str, options: str, folder: Path) -> Parts:
    """A run and all that is done with one."""
    run = folder / "run"
    parts: Parts = {"train": command("train", recipe, "--out", run, *options.split())}
    trained = vd.load_run(run)
    parts["history"] = read_history(run)
    parts["posterior"] = parameters(trained.model, trained.guide)
    parts["network"] = load_file(run / "pruned.safetensors")
    parts["evaluate"] = command("evaluate", run, "--num-samples", 3)
    parts["prune"] = command("prune", run, "--threshold", 1, "--out", folder / "pruned"), load_file(folder / "pruned")
    for form in ("safetensors", "sparse", "quantised", "onnx", "torch"):
        said = command("export", run, "--format", form, "--out", folder / form)
        is_tensors = form not in ("onnx", "torch")
        parts[f"export {form}"] = said, load_file(folder / form) if is_tensors else None
    parts["inspect"] = command("inspect", run, "--num-samples", 3)
    parts["inference data"] = inference_data(vd.posterior.read_inference_data(run / "posterior.nc"))
    parts["compare"] = command("compare", run)
    return parts


def animation(folder: Path) -> Parts:
    run = folder / "run"
    command("train", "digits", "--out", run, *DIGITS.split(), "--train.frames", 2)
    frames = read_frames(run / "frames")
    return {"frames": [frames.epoch, frames.score, frames.weights], "animate": command("animate", run, "--max-frames", 3)}


def sweep(folder: Path) -> Parts:
    grid = ["--grid", "train.kl_weight.value=0.1,1", "--jobs", 2, "--out", folder / "sweep"]
    said = command("sweep", "digits", *DIGITS.split(), "--pretrain.epochs", 0, *grid)
    networks = sorted((folder / "sweep").glob("*/pruned.safetensors"))
    return {"runs": said, "networks": [load_file(network) for network in networks]}


def recipes(folder: Path) -> Parts:
    """The numbers in each of the built-in recipes."""

    def numbers(tree: Any) -> list[float]:
        entries = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
        return [tree] if isinstance(tree, int | float) else [number for entry in entries for number in numbers(entry)]

    return {name: sorted(numbers(read_recipe(name))) for name in command("recipes")}


def experiment(name: str, folder: Path) -> Parts:
    command("experiment", name, "--quick", "--quiet", "--out", folder / "out")
    return {"series": json.loads((folder / "out" / "results.json").read_text())["series"]}


RESULTS: dict[str, Callable[[Path], Parts]] = {
    "command digits": partial(commands, "digits", DIGITS),
    "command diabetes": partial(commands, "diabetes", DIABETES),
    "command animate": animation,
    "command sweep": sweep,
    "command recipes": recipes,
    **{f"experiment {name}": partial(experiment, name) for name in EXPERIMENTS},
}
