"""``pyro-vd inspect``: what a run has learnt, as a table, as ArviZ data and as figures.

An infinite quantile is null in the JSON object; log α is infinite where θ = 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pyro_vd._core.errors import InputError
from pyro_vd.cli.arguments import add_data_dir, add_trust, check_learns_alpha, take_trust
from pyro_vd.cli.parsing import Parser

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyro_vd.pruning.rule import PruningRule
    from pyro_vd.workflow.finished_run import Run
    from pyro_vd.workflow.inspection import LayerInspection

FILE = "posterior.nc"
FIGURES = ("log-alpha.png", "masks.png", "inputs.png", "kl.png", "mean-deviation.png", "forest.png")


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    parser = Parser("inspect RUN [--plots] [--overwrite]", "The posterior is the one before pruning and fine-tuning.")
    parser.value("run", str, f"folder of a finished run; {FILE} is written there")
    parser.flag("--plots", f"write figures there as well: {', '.join(FIGURES)}")
    parser.flag("--overwrite", "replace these files if they exist; without this option the command then stops")
    parser.value("--num-samples", int, "draws of the posterior and of the predictions (default: 100)", default=100)
    parser.value("--weights", int, "weights per layer to keep draws of: those of largest |θ|/σ (default: 20)", default=20)
    add_data_dir(parser)
    add_trust(parser)
    values = parser.read(arguments)
    take_trust(values)

    from pyro_vd._core.storage import as_json, save_figure
    from pyro_vd.compaction.surviving import surviving_features
    from pyro_vd.evaluation.network_size import network_size
    from pyro_vd.networks.inputs import rows
    from pyro_vd.posterior.arviz_files import write_inference_data
    from pyro_vd.pruning.pruned import prune
    from pyro_vd.workflow.finished_run import load_run, run_rule
    from pyro_vd.workflow.inspection import inspect_layers, run_inference_data
    from pyro_vd.workflow.tables import print_sizes

    run = load_run(values.run, values.data_dir)
    check_learns_alpha(run)
    targets = [run.folder / name for name in (FILE, *(FIGURES if values.plots else ()))]
    if not values.overwrite and (there := [path for path in targets if path.exists()]):
        message = f"{there[0]} exists; replace the files of an earlier inspect with --overwrite"
        raise InputError(message, name=str(there[0]))
    rule = run_rule(run)
    threshold = rule.threshold
    layers = inspect_layers(run.guide, run.data.test, rule)
    net = prune(run.guide, rule)
    size = asdict(network_size(net, run.data.x_test, run.model.weight_names))
    data = run_inference_data(run, num_samples=values.num_samples, weights=values.weights)
    figures = _figures(run, data, rule, layers) if values.plots else {}
    write_inference_data(data, run.folder / FILE)
    for name, figure in figures.items():
        save_figure(figure, run.folder / name)
    features = run.data.features
    left = () if features is None else surviving_features(net, features, rows(run.data.x_test, slice(1)))
    result = {
        "run": str(run.folder),
        "file": str(run.folder / FILE),
        "figures": [str(run.folder / name) for name in figures],
        "threshold": threshold,
        "layers": [asdict(layer) for layer in layers],
        **({} if features is None else {"features": features, "features_left": left}),
        "size": {key: value for key, value in size.items() if key != "layers"},
    }
    if values.json:
        print(as_json(result))
    else:
        inputs = rule.max_inputs
        but = f" and all inputs but the {'-'.join(map(str, inputs))} of least log α" if inputs else ""
        _print(f"{run.folder / FILE}: log α ≥ {threshold:g}{but} pruned; 5, 50 and 95 % quantiles", layers)
        print_sizes("pruned, before fine-tuning", {"pruned": json.loads(as_json(size))})
        if features is not None:
            print(f"it reads {len(left)} of {len(features)} features: {', '.join(left) or 'none'}")
        if figures:
            print(f"figures in {run.folder}: {', '.join(figures)}")


def _figures(run: Run, data: Any, rule: PruningRule, layers: list[LayerInspection]) -> Mapping[str, Figure]:
    from pyro_vd.guides.alpha import log_alpha
    from pyro_vd.plots import posterior as plots
    from pyro_vd.plots.drawing import image_shape
    from pyro_vd.pruning.rule import pruning_masks

    log_alphas = log_alpha(run.guide)
    masks, threshold = pruning_masks(run.guide, rule), rule.threshold
    name, *_ = run.guide.site_names
    first = run.guide.mean(name) * masks[name]
    figures = (
        plots.log_alpha_histograms(log_alphas, threshold, masks),
        plots.weight_masks(masks),
        plots.input_relevance(first, image_shape(run.data.x_test.shape[1:]), run.data.features),
        plots.kl_by_layer({layer.site: layer.kl for layer in layers}),
        plots.mean_against_deviation({name: run.guide.posterior(name) for name in run.guide.site_names}, threshold),
        plots.largest_weights(data),
    )
    return dict(zip(FIGURES, figures, strict=True))


def _print(title: str, layers: list[LayerInspection]) -> None:
    from pyro_vd.workflow.tables import print_table

    def some(quantiles: tuple[float, ...] | None, digits: int) -> str:
        shown = () if quantiles is None else quantiles[::2]
        return " ".join("∞" if value == math.inf else f"{value:.{digits}f}" for value in shown) or "–"

    columns = ["layer", "pruned %", "log α", "|θ|/σ", "|θ|/σ if left", "inputs left", "units left", "KL nats (%)"]
    rows = [
        [
            layer.site,
            f"{100 * layer.sparsity:.1f}",
            some(layer.quantiles, 1),
            some(layer.signal_quantiles, 1),
            some(layer.left_signal_quantiles, 1),
            f"{layer.surviving_inputs}/{layer.inputs}",
            f"{layer.surviving_units}/{layer.units}",
            f"{layer.kl:.1f} ({100 * layer.kl_share:.1f})",
        ]
        for layer in layers
    ]
    print_table(title, columns, rows)
