"""The folder of a run: the names of its files, which run may write to it, and the results and the log that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.reading import read_json
from pyro_vd._core.storage import as_json, clear_temporaries, is_temporary, write_atomically
from pyro_vd._core.yaml_files import load_yaml, read_yaml
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.training.metrics_log import read_log
from pyro_vd.workflow.model_config import AUTO
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_files import recipe_text
from pyro_vd.workflow.results import check_results

RECIPE, METRICS, LOG, ALPHA_LOG, POSTERIOR, PRUNED, FRAMES, LOCK, STOPPED = (
    "recipe.yaml",
    "metrics.json",
    "metrics.jsonl",
    "log-alpha.jsonl",
    "posterior.safetensors",
    "pruned.safetensors",
    "frames",
    ".lock",
    "stopped.json",
)


def checkpoint_of(folder: Path, phase: str) -> Path:
    """The checkpoint of a phase of a run, such as ``train``."""
    return folder / f"checkpoint-{phase}.pt"


def check_run_dir(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Make sure that a run may train into a folder; nothing is changed.

    Args:
        folder: of the run; it need not exist.
        recipe: of the run.
        resume: accept a folder that holds a run of the same recipe already.

    Raises:
        InputError: the folder is not empty and ``resume`` is False, or it holds a run of another recipe, or something else.
    """
    if not is_begun(folder, resume):
        return
    found = recipe_of(folder)
    if different := sorted(differences_of(found, load_yaml(recipe_text(recipe.from_anywhere())))):
        longer = any(line.partition(" ")[0].endswith(".epochs") for line in different)
        instead = "; a run is not made longer: train one with other epochs into another folder, with --out" if longer else ""
        message = f"{folder} holds a run of another recipe: {'; '.join(different)}{instead}"
        raise InputError(message, name="output folder", value=str(folder))


def is_begun(folder: Path, resume: bool) -> bool:
    """Whether an output folder holds something, which is then to be gone on with.

    Raises:
        InputError: it is not empty and ``resume`` is False, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        message = f"output folder (={str(folder)!r}) is a file; choose another with --out"
        raise InputError(message, name="output folder", value=str(folder))
    if not folder.exists() or not _holds_something(folder):
        return False
    if not resume:
        message = f"output folder (={str(folder)!r}) is not empty; go on with --resume, or choose another with --out"
        raise InputError(message, name="output folder", value=str(folder))
    return True


def make_run_dir(folder: Path) -> None:
    """Make the folder of a run where it does not exist.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"output folder (={str(folder)!r}) cannot be made: {error.strerror}"
        raise InputError(message, name="output folder", value=str(folder)) from error


def prepare_run_dir(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Write the recipe of a run into its folder, or make sure that the same one is there.

    Args:
        folder: of the run, into which no other process trains.
        recipe: of the run.
        resume: accept a folder that holds a run of the same recipe already; what a killed process has left is removed, and the
            note that a sweep has stopped it.

    Raises:
        InputError: as :func:`check_run_dir`; nothing is changed.
    """
    if resume:
        clear_temporaries(folder)
    check_run_dir(folder, recipe, resume)
    (folder / STOPPED).unlink(missing_ok=True)
    if not (folder / RECIPE).exists():
        write_atomically(folder / RECIPE, recipe_text(recipe.from_anywhere()).encode())


def _holds_something(folder: Path) -> bool:
    return any(path.name != LOCK and not is_temporary(path) for path in folder.iterdir())


def mark_stopped(folder: Path, when: str) -> None:
    """Note in the folder of a run that its sweep has stopped it, because its setting is hopeless."""
    write_atomically(folder / STOPPED, f"{as_json({'stopped': when, 'why': 'hopeless'})}\n".encode())


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read the results of a finished run.

    Raises:
        InputError: the folder holds no finished run, or the file is not as a run writes it.
    """
    path = folder / METRICS
    if not path.is_file():
        if any(folder.glob(f"*/{METRICS}")):
            message = f"{folder} is no run, but holds runs in its folders; give these: {folder}/*"
            raise InputError(message, name="run", value=str(folder), allowed="the folder of a run")
        stopped = " (a sweep has stopped it)" if (folder / STOPPED).exists() else ""
        raise InputError(
            f"{folder} holds no finished run: {METRICS} is not there{stopped}. Finish it: pyro-vd train RECIPE --resume --out "
            f"{folder}",
            name="run",
            value=str(folder),
        )
    return check_results(f"{path} is corrupt", read_json(path, "the results of a run"))


def read_history(folder: Path) -> list[EpochRecord]:
    """The log of a run, one record per epoch, the phases in order.

    Numbers that JSON lacks are null in the file; in the records, such a loss is NaN, and such a compression infinite.

    Raises:
        InputError: the log is missing or broken.
    """
    return [record for _, record in read_log(folder / LOG)]


def recipe_of(folder: Path) -> dict[str, Any]:
    """The plain contents of a run's recipe.

    Raises:
        InputError: the folder holds no run, or its recipe is no YAML.
    """
    if not (folder / RECIPE).is_file():
        raise InputError(f"{folder} holds no run: {RECIPE} is not there", name="run", value=str(folder))
    return read_yaml(folder / RECIPE)


def differences_of(found: Any, wanted: Any, path: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in {**found, **wanted} if not _agree(found.get(key), wanted.get(key))]
        return [
            line
            for key in keys
            for line in differences_of(found.get(key), wanted.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [f"{path} is {quoted(found)} there, {quoted(wanted)} here"]


def _agree(found: Any, wanted: Any) -> bool:
    """Whether two settings are the same, or may be once the second is taken from the data."""
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return all(map(_agree, found, wanted))
    return wanted == AUTO or found == wanted
