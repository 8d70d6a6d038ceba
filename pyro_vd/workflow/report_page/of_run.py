"""The report on a finished run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.compacting import told
from pyro_vd.compaction.layer_units import layer_units
from pyro_vd.evaluation.score import score_in
from pyro_vd.evaluation.standard_error import share_interval
from pyro_vd.export.pruned_file import read_info
from pyro_vd.guides.alpha import log_alpha
from pyro_vd.guides.means import posterior_mean
from pyro_vd.models.likelihood_files import likelihood_of
from pyro_vd.networks.inputs import rows
from pyro_vd.training.alpha_log import AlphaRecord, read_alpha_log
from pyro_vd.workflow.finished_run import Run, load_run, run_pruned, run_rule
from pyro_vd.workflow.named_networks import trusted
from pyro_vd.workflow.pretraining import pretrained_in
from pyro_vd.workflow.recipe_files import recipe_text
from pyro_vd.workflow.report_page.alpha import TITLE as ALPHA
from pyro_vd.workflow.report_page.alpha import alpha_section
from pyro_vd.workflow.report_page.headline import Measured, deployed, headline
from pyro_vd.workflow.report_page.inputs import InputNames, names_left
from pyro_vd.workflow.report_page.networks import Pair, calibration_of, threshold_of
from pyro_vd.workflow.report_page.recipe import recipe_section
from pyro_vd.workflow.report_page.section import Section, Subject, left_out
from pyro_vd.workflow.report_page.training import training_section
from pyro_vd.workflow.report_page.units import units_section
from pyro_vd.workflow.run_folder import ALPHA_LOG, PRUNED, RECIPE, checkpoint_of, read_history, read_metrics
from pyro_vd.workflow.tables import quality_table

_PRETRAINED, _MEAN, _PRUNED = "pretrained", "posterior mean", "pruned"
"""The names of networks in ``metrics.json``."""


def run_report(
    folder: Path | str, data_dir: Path | str | None = None, progress: bool = True, name: str | None = None
) -> Subject:
    """Make the report on a run: its measurements are those of the run, and what it has not measured is measured here.

    Args:
        folder: the folder of the run.
        data_dir: the torchvision root, by default the recipe's.
        progress: whether to show how far it is.
        name: what the run is called; None for that of its folder.

    Raises:
        InputError: see :func:`~pyro_vd.load_run`; or the data are missing.
    """
    run = load_run(folder, data_dir)
    metrics = read_metrics(run.folder)
    example, pruned = rows(run.data.test[0], slice(3)), run_pruned(run.folder)
    small = told(pruned, example)
    networks, pair = metrics["networks"], _pair(run, small.net)
    before = _PRETRAINED if _PRETRAINED in networks else _MEAN
    weights, left = (sum(layer[key] for layer in networks[_PRUNED]["layers"]) for key in ("weights", "nonzero"))
    sizes = {"weights that are not zero": (weights, left), **pair.sizes(example)}
    notes = [f"Error before: of the network {before!r} of the run; after: of {_PRUNED!r}, on the same test data."]
    if before == _PRETRAINED and pair.names[0] != _PRETRAINED:
        notes.append(f"Sizes and times before: of the {pair.names[0]}, for the pretrained network is no longer in the folder.")
    errors = _measured(metrics, before), _measured(metrics, _PRUNED)
    names = InputNames(example, run.data.features, run.data.words)
    sections = (
        headline(errors, sizes, deployed(pair.before, pair.after, example), notes),
        threshold_of(run.guide, run.recipe.prune.rule, run_rule(run).threshold, run.validation, names, progress),
        _alpha(run),
        units_section(layer_units(pruned, small.plan), names_left(metrics)),
        calibration_of(pair, run.data.test, quality_table(networks), "test data"),
        training_section(read_history(run.folder)),
        _repeat(run, metrics, data_dir),
    )
    return Subject(name or run.folder.resolve().name, sections)


def _pair(run: Run, after: nn.Module) -> Pair:
    """The network before, which is the pretrained one where its checkpoint is still there, and after."""
    likelihood = likelihood_of(read_info(run.folder / PRUNED))
    try:
        net, of_net = pretrained_in(checkpoint_of(run.folder, "pretrain"), run.recipe)
        name = "pretrained"
    except InputError:  # the run has no such phase, or its checkpoints have been removed
        net, of_net = posterior_mean(run.guide), run.model.likelihood
        name = "posterior mean, not pruned"
    return Pair(net.eval(), after, (name, "pruned"), (of_net, likelihood))


def _measured(metrics: Mapping[str, Any], name: str) -> Measured:
    """The score of a network on the test data, with its interval where the run has noted what it follows from."""
    network, size = metrics["networks"][name], metrics.get("test_size")
    score = score_in(network)
    assert score is not None  # check_results has seen it
    se = network.get("rmse_se")
    if score.is_share and size:
        return Measured(score, share_interval(score.value, size))
    if se is not None and math.isfinite(se):
        return Measured(score, (max(0.0, score.value - 1.96 * se), score.value + 1.96 * se))
    return Measured(score, None)


def _alpha(run: Run) -> Section:
    if not run.guide.learns_alpha:
        return left_out("alpha", ALPHA, f"A {type(run.guide).__name__} learns no log α.")
    path = run.folder / ALPHA_LOG
    history: Sequence[AlphaRecord] = read_alpha_log(path) if path.is_file() else ()
    sites = run.guide.site_names
    if any(record["log_alpha"].keys() != set(sites) for record in history):
        raise InputError(f"{path} is of other weights than {', '.join(sites)}", name=str(path), allowed=f"{', '.join(sites)}")
    without = (
        f"log α over the epochs is not shown: {ALPHA_LOG} is not in the folder of this run, which an earlier version made."
    )
    thresholds = run_rule(run).site_thresholds(sites)
    return alpha_section(log_alpha(run.guide), thresholds, history, without)


def _repeat(run: Run, metrics: Mapping[str, Any], data_dir: Path | str | None) -> Section:
    folder = shlex.quote(str(run.folder))
    trust = "".join(f" --trust {shlex.quote(package)}" for package in trusted())
    place = "" if data_dir is None else shlex.quote(str(data_dir))
    train = f"pyro-vd train {shlex.quote(str(run.folder / RECIPE))} --out {shlex.quote(f'{run.folder}-again')}{trust}"
    report = f"pyro-vd report {folder} --out again.html{trust}"
    commands = [f"{train} --data.dir {place}", f"{report} --data-dir {place}"] if place else [train, report]
    return recipe_section(recipe_text(run.recipe), "Recipe", metrics.get("versions", {}), commands)
