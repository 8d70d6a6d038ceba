"""A run: pretraining, training, pruning, fine-tuning and measuring as a recipe says."""

from __future__ import annotations

import copy
import math
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import nn

from pyro_vd._core.arguments import check_device, check_path
from pyro_vd._core.compiler import check_compiler
from pyro_vd._core.storage import as_json, write_atomically
from pyro_vd.compaction.surviving import compact_size
from pyro_vd.evaluation.score import validation_score
from pyro_vd.evaluation.standard_error import score_standard_error
from pyro_vd.export.pruned_file import save_pruned
from pyro_vd.guides.means import posterior_mean
from pyro_vd.networks.inputs import num_examples, rows
from pyro_vd.pruning.pruned import masked, report_empty_sites
from pyro_vd.pruning.rule import PruningRule, pruning_masks
from pyro_vd.training.alpha_log import AlphaLog
from pyro_vd.training.callbacks import Callback
from pyro_vd.training.fit_result import FitResult
from pyro_vd.training.fitting import fit
from pyro_vd.training.frames import FrameRecorder
from pyro_vd.training.metrics_log import MetricsLog
from pyro_vd.training.processes import Processes, processes_here
from pyro_vd.workflow.chosen_rule import chosen_rule
from pyro_vd.workflow.measuring import file_info, inputs_left, measure_networks, names_of
from pyro_vd.workflow.phases import StepsConfig
from pyro_vd.workflow.posterior_file import save_posterior
from pyro_vd.workflow.pretraining import pretrain
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_network import recipe_network
from pyro_vd.workflow.run_folder import (
    ALPHA_LOG,
    FRAMES,
    LOG,
    METRICS,
    PRUNED,
    check_run_dir,
    checkpoint_of,
    prepare_run_dir,
    read_metrics,
)
from pyro_vd.workflow.run_lock import only_process
from pyro_vd.workflow.starting import go_on_from, run_to_start_from

_PHASES = ("pretrain", "train", "finetune")


def train_run(
    recipe: Recipe,
    folder: Path | str,
    *,
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    wait: float = 0.0,
) -> dict[str, Any]:
    """Train, prune and measure as a recipe says, and write everything into ``folder``.

    The run can be killed at any moment and resumed. The processes of a group of ``torch.distributed`` carry it out together;
    the one of rank 0 alone uses the folder. See :func:`~pyro_vd.fit`.

    Args:
        recipe: the settings.
        folder: made if it does not exist; it must be empty unless ``resume`` is True.
        resume: go on with the run of the same recipe in ``folder``.
        progress: show on standard error what the recipe makes of data of your own, and progress bars.
        callbacks: called in every phase of training.
        wait: how long to wait for another process that trains into the folder and is about to end, in seconds.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: bad settings or data, before anything is written; a folder with something else in it, or into which another
            process trains.
        NonFiniteError: see :func:`~pyro_vd.training.fitting.fit`.
        OSError: a file could not be written; files that were there before are still whole.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from pyro_vd import load_run, train_run
        >>> from pyro_vd.workflow import parse_recipe
        >>> folder = Path(mkdtemp(), "run")
        >>> recipe = {"data": {"name": "digits"}, "model": {"sizes": [64, 20, 10]}, "train": {"epochs": 2}}
        >>> metrics = train_run(parse_recipe(recipe), folder, progress=False)
        >>> list(metrics["networks"])
        ['posterior mean', 'Monte Carlo', 'pruned']
        >>> load_run(folder).guide.site_names
        ['1.weight', '3.weight']
    """
    processes = processes_here()
    with processes.together(), ExitStack() as held:
        return _train_run(recipe, check_path("folder", folder), resume, progress, callbacks, wait, held, processes)


def _train_run(
    recipe: Recipe,
    folder: Path,
    resume: bool,
    progress: bool,
    callbacks: Sequence[Callback],
    wait: float,
    held: ExitStack,
    processes: Processes,
) -> dict[str, Any]:
    recipe = recipe.from_anywhere()
    device = check_device(recipe.torch_device())
    if recipe.train.compile:
        check_compiler("train.compile", device)
    made = recipe_network(recipe, recipe.data.validation, announce=progress and processes.is_first)
    recipe, data, train, validation = made.recipe, made.data, made.train, made.validation
    net, likelihood = made.net, made.likelihood
    model = recipe.model.bayesian(copy.deepcopy(net), copy.deepcopy(likelihood))
    recipe.check_sites(recipe.train.guide.build_for(model, rows(train[0], slice(2))))
    trained_before = resume and processes.of_first(checkpoint_of(folder, "train").exists)  # it holds all that was started from
    start = None if trained_before else run_to_start_from(recipe)
    augment = recipe.augmentation
    if augment:
        augment(rows(train[0], slice(1)))  # refuses inputs that are not images, before anything is written
    if finished := processes.of_first(partial(_begun, recipe, folder, resume, wait, held)):
        return finished

    started = time.perf_counter()
    results: dict[str, FitResult] = {}

    def options(phase: str, config: StepsConfig) -> dict[str, Any]:
        pyro.set_rng_seed((recipe.seed + 1000 * (1 + _PHASES.index(phase))) % 2**32)  # a resumed phase starts as a new one
        log = [MetricsLog(folder / LOG)] if processes.is_first else []
        files = {"checkpoint": checkpoint_of(folder, phase), "callbacks": [*log, *callbacks]}
        common = {"resume": resume, "progress": progress, "device": recipe.torch_device(), "augment": augment}
        return {**config.fit_options(), **files, **common, "phase": phase}

    if recipe.pretrain.epochs:
        settings = options("pretrain", recipe.pretrain)
        net, results["pretrain"] = pretrain(recipe, net, likelihood, train, validation, settings)
    pretrained = (net, copy.deepcopy(likelihood)) if recipe.pretrain.epochs else None

    model = recipe.model.bayesian(net, likelihood)
    guide = recipe.train.guide.build_for(model, rows(train[0], slice(2)))
    if start is not None:
        go_on_from(start, guide)
    rule = recipe.prune.rule()
    settings = options("train", recipe.train) | {"rule": rule}
    if guide.learns_alpha:
        settings["callbacks"].append(AlphaLog(folder / ALPHA_LOG))
    if recipe.train.frames:
        watched = (validation, "validation") if validation else (train, "training")
        settings["callbacks"].append(FrameRecorder(folder / FRAMES, recipe.train.frames, *watched))
    results["train"] = fit(guide, train, validation, **settings)
    model.cpu(), guide.cpu()
    if processes.is_first:
        save_posterior(folder, guide)

    choose = partial(chosen_rule, recipe.prune, guide, validation)
    rule = processes.of_first(choose) if guide.learns_alpha else PruningRule(math.inf)
    masks = pruning_masks(guide, rule) if guide.learns_alpha else {}
    if rule != settings["rule"]:  # of which the training has said it
        report_empty_sites(masks)
    pruned = masked(guide, masks)
    trained = copy.deepcopy(guide)
    if recipe.finetune.epochs:
        guide.apply_masks(masks)
        settings = options("finetune", recipe.finetune) | {"noise": recipe.train.noise}
        results["finetune"] = fit(guide, train, validation, rule=math.inf, **settings)
        pruned = posterior_mean(guide).cpu()

    def measured() -> dict[str, Any]:
        # Everything is chosen; only now are the test data used.
        fitted = [trained, trained.model, pruned, likelihood, *(pretrained or ())]
        modules = [each for each in fitted if isinstance(each, nn.Module)]
        for module in modules:
            module.to(recipe.torch_device())
        networks = measure_networks(recipe, train, data.test, pretrained, trained, (pruned, likelihood))
        for module in modules:
            module.cpu()
        save_pruned(pruned, folder / PRUNED, file_info(recipe, rule.threshold, likelihood, names_of(data)))
        example = rows(data.test[0], slice(1))
        metrics = {
            "data": recipe.data.name,
            "test_size": num_examples(data.test[0]),
            "seed": recipe.seed,
            "threshold": rule.threshold,
            **validation_score(pruned, validation, likelihood),
            "validation_se": None if validation is None else score_standard_error(pruned, validation, likelihood),
            "validation_size": 0 if validation is None else num_examples(validation[0]),
            "networks": {name: asdict(value) for name, value in networks.items()},
            "compact": asdict(compact_size(pruned, example)),
            **names_of(data),
            **inputs_left(pruned, data.features, data.words, example),
            "skipped": sum(result.skipped for result in results.values()),
            "seconds": {phase: sum(record.seconds for record in result.history) for phase, result in results.items()},
            "seconds_since_start": time.perf_counter() - started,
            "device": recipe.torch_device(),
            "threads": torch.get_num_threads(),
            "processes": processes.shard.size,
            "versions": {name: version(name) for name in ("pyro_vd", "torch", "pyro-ppl")}
            | {"python": platform.python_version()},
        }
        write_atomically(folder / METRICS, f"{as_json(metrics, indent=2)}\n".encode())
        return read_metrics(folder)

    return processes.of_first(measured)


def _begun(recipe: Recipe, folder: Path, resume: bool, wait: float, held: ExitStack) -> dict[str, Any] | None:
    """Prepare the folder of a run, and hold it for this process alone; its results, if the run is finished."""
    check_run_dir(folder, recipe, resume)
    if not (resume and (folder / METRICS).exists()):  # a finished run may lie in a folder that cannot be written to
        held.enter_context(only_process(folder, wait))
        prepare_run_dir(folder, recipe, resume)
    return read_metrics(folder) if resume and (folder / METRICS).exists() else None
