"""Inspection of a finished run: a summary of each layer, and its posterior as ArviZ data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from pyro_vd._core.shown import Table
from pyro_vd.data.dataset import Arrays
from pyro_vd.guides.alpha import weight_log_alpha
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.posterior.inference_data import to_inference_data
from pyro_vd.posterior.summary import LayerSummary, quantiles, site_kl, summarize
from pyro_vd.pruning.rule import Rule, pruning_masks
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD
from pyro_vd.workflow.finished_run import Run, run_rule
from pyro_vd.workflow.recipe_files import recipe_text
from pyro_vd.workflow.run_folder import read_history


@dataclass(frozen=True)
class LayerInspection(LayerSummary):
    """A weight site: how many of its weights are left, how certain they are, and their share of the KL.

    An input (of a convolution: an input channel) survives if a weight of this layer that reads it is left, and a unit (of a
    convolution: an output channel) if a weight of this layer that produces it is left.
    """

    signal_quantiles: tuple[float, ...]
    """Quantiles of |θ|/σ, at :data:`~pyro_vd.posterior.summary.QUANTILES`."""
    left_signal_quantiles: tuple[float, ...] | None
    """The same quantiles over the weights that are left; None if no weight is left."""
    inputs: int
    surviving_inputs: int
    units: int
    surviving_units: int
    kl: float
    """KL(q‖p) in nats."""
    kl_share: float
    """The share of this KL in that of all latent sites, in [0, 1]."""


def inspect_layers(guide: WeightGuide, data: Arrays, rule: Rule = DEFAULT_THRESHOLD) -> Table[LayerInspection]:
    """Summarize each weight site in a :class:`LayerInspection`.

    Args:
        guide: a trained guide with variational noise.
        data: inputs and observations to run the model on; the summaries do not depend on them.
        rule: which weights count as pruned; see :func:`~pyro_vd.prune`.

    Raises:
        InputError: the rule does not fit the guide, or the guide has no log α.
    """
    model, kl = guide.model, site_kl(guide, data)
    total = sum(kl.values())
    masks = pruning_masks(guide, rule)
    layers: Table[LayerInspection] = Table()
    for summary in summarize(guide, rule):
        site = summary.site
        signal = (-0.5 * weight_log_alpha(guide, site)).exp_()  # |θ|/σ is the root of 1/α
        left = signal[masks[site]]
        made, read = (_left(masks[site], model.weight_axes(site), axis) for axis in ("out", "in"))
        layers.append(
            LayerInspection(
                **asdict(summary),
                signal_quantiles=quantiles(signal),
                left_signal_quantiles=quantiles(left) if len(left) else None,
                inputs=len(read),
                surviving_inputs=int(read.sum()),
                units=len(made),
                surviving_units=int(made.sum()),
                kl=kl[site],
                kl_share=kl[site] / total if total else 0.0,
            )
        )
    return layers


def _left(mask: Tensor, axes: Sequence[str], axis: str) -> Tensor:
    """True for each index of the axis at which a weight is left; without such an axis, everything counts as one unit."""
    return mask.movedim(axes.index(axis), 0).flatten(1).any(1) if axis in axes else mask.any()[None]


def run_inference_data(run: Run, **options: Any) -> Any:
    """:func:`~pyro_vd.posterior.to_inference_data` of a run and its test data, with the run's threshold and history.

    Args:
        run: as :func:`~pyro_vd.load_run` gives it: trained and not yet pruned.
        options: arguments of :func:`~pyro_vd.posterior.to_inference_data`, in place of those that the run gives.

    Raises:
        InputError: an argument is refused by that function, or a file of the run is broken.
    """
    said = {
        "rule": run_rule(run),
        "seed": run.recipe.seed,
        "history": read_history(run.folder),
        "attrs": {"recipe": recipe_text(run.recipe)},
    }
    return to_inference_data(run.guide, run.data, **{**said, **options})
