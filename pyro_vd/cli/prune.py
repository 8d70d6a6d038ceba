"""``pyro-vd prune``: prune a trained run at another threshold, or to other numbers of inputs."""

from __future__ import annotations

from dataclasses import asdict

from pyro_vd._core.errors import InputError
from pyro_vd.cli.arguments import add_data_dir, add_trust, check_learns_alpha, finish, new_file, take_trust
from pyro_vd.cli.parsing import Parser


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    parser = Parser("prune RUN [--threshold X | --max-error-rise X] [--max-inputs N …] [--out FILE]")
    parser.value("run", str, "folder of a finished run")
    parser.value("--threshold", float, "remove weights with log α at or above it (default: the recipe's)")
    parser.value(
        "--max-error-rise",
        float,
        "take the lowest threshold at which the validation error rises by at most this share (an RMSE: relative to itself)",
    )
    parser.value(
        "--max-inputs", int, "most inputs that each layer keeps, one number per layer (default: the recipe's)", nargs="+"
    )
    parser.value("--out", str, "file to write (default: RUN/pruned-THRESHOLD-INPUTS.safetensors)")
    add_data_dir(parser)
    add_trust(parser)
    values = parser.read(arguments)
    take_trust(values)

    from pyro_vd.evaluation.metrics import evaluate
    from pyro_vd.evaluation.score import score_in, validation_score
    from pyro_vd.export.pruned_file import save_pruned
    from pyro_vd.pruning.pruned import prune
    from pyro_vd.workflow.chosen_rule import chosen_rule
    from pyro_vd.workflow.finished_run import load_run, run_rule
    from pyro_vd.workflow.measuring import file_info
    from pyro_vd.workflow.phases import PruneConfig
    from pyro_vd.workflow.run_folder import read_metrics

    run = load_run(values.run, values.data_dir)
    check_learns_alpha(run)
    by_hand = values.threshold is not None or values.max_inputs is not None
    if by_hand and values.max_error_rise is not None:
        raise InputError(
            "give --max-error-rise, or --threshold and --max-inputs, not both",
            name="max-error-rise",
            value=values.max_error_rise,
        )
    config = run.recipe.prune
    if by_hand:
        threshold = run_rule(run).threshold if values.threshold is None else values.threshold
        of_sites = config.thresholds if values.threshold is None else {}  # a threshold that is given holds for all sites
        config = PruneConfig(threshold=threshold, thresholds=of_sites, max_inputs=values.max_inputs or config.max_inputs)
    elif values.max_error_rise is not None:
        config = PruneConfig(max_error_rise=values.max_error_rise)
    rule = chosen_rule(config, run.guide, None if config.max_error_rise is None else run.validation)
    threshold = rule.threshold
    name = "-".join(["pruned", f"{threshold:g}", *map(str, values.max_inputs or ())])
    row = f"pruned at {threshold:g}" + (f", inputs {'-'.join(map(str, config.max_inputs))}" if config.max_inputs else "")
    out = new_file(values.out or run.folder / f"{name}.safetensors")
    net = prune(run.guide, rule)
    info = file_info(run.recipe, threshold, run.model.likelihood, read_metrics(run.folder))
    try:
        data = run.data
    except InputError as error:  # the run may have come without its data, which pruning at a threshold does not need
        save_pruned(net, out, info)
        result = {"file": str(out), "threshold": threshold, "networks": {}}
        finish(values, result, f"{out}, not fine-tuned, and not measured: {error}")
        return
    metrics = asdict(evaluate(net, data.test, likelihood=run.model.likelihood))
    save_pruned(net, out, info)
    held_out = validation_score(net, run.validation, run.model.likelihood)
    measured = {
        "file": str(out),
        "threshold": threshold,
        **held_out,
        "networks": {row: metrics},
    }
    score = score_in(held_out, "validation_")
    said = f"validation {score}" if score else "no validation data"
    finish(values, measured, f"{out}, not fine-tuned, {said}; test data of {data.name}")
