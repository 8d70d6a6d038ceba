"""The networks of a report before and after, and the sections that are made of them alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.checked_batches import CheckedBatches
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.prediction import predict
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.networks.flops import network_cost
from pyro_vd.networks.inputs import Inputs, num_examples, rows
from pyro_vd.pruning.rule import PruningRule
from pyro_vd.workflow.report_page.calibration import TITLE as CALIBRATION
from pyro_vd.workflow.report_page.calibration import Measures, calibration_section
from pyro_vd.workflow.report_page.inputs import InputNames, input_picture
from pyro_vd.workflow.report_page.masks import mask_picture
from pyro_vd.workflow.report_page.section import Section, left_out
from pyro_vd.workflow.report_page.threshold import TITLE, threshold_section
from pyro_vd.workflow.report_page.threshold_curve import threshold_curve

_MOST = 10_000
"""The most examples of the figures of the calibration."""


@dataclass(frozen=True)
class Pair:
    """A network before and after, each with the likelihood of its output.

    Attributes:
        before, after: the networks, on the CPU, compact.
        names: what they are called in figures.
        likelihoods: of their outputs.
    """

    before: nn.Module
    after: nn.Module
    names: tuple[str, str]
    likelihoods: tuple[Observed | None, Observed | None]

    def sizes(self, example: Inputs) -> dict[str, tuple[int, int]]:
        """Parameters and operations before and after, by name."""
        old, new = (network_cost(net, rows(example, slice(1))) for net in (self.before, self.after))
        return {"parameters, compact": (old.parameters, new.parameters), "FLOPs per example": (old.flops, new.flops)}


def calibration_of(pair: Pair, data: Arrays | CheckedBatches, measured: Measures, what: str) -> Section:
    """Make the section of the calibration, of at most the first 10,000 examples, or the first batch.

    Args:
        pair: the networks.
        data: the test data.
        measured: the table of measures on all test data; see :func:`~.calibration.calibration_section`.
        what: the data, such as "test data".
    """
    x, y = next(iter(data)) if isinstance(data, CheckedBatches) else rows(data, slice(_MOST))
    networks = zip(pair.names, (pair.before, pair.after), pair.likelihoods, strict=True)
    notes = [f"The figures are of {num_examples(x):,} examples of the {what}."]
    if "ECE" in measured[0]:
        notes.append("ECE is the expected calibration error, over bins of equal width, and of equal mass.")
    try:
        predictions = {name: predict(net, x, likelihood=likelihood) for name, net, likelihood in networks}
        return calibration_section(predictions, y, measured, notes)
    except InputError as error:  # of distributions whose mean or distribution function torch does not have
        return left_out("calibration", CALIBRATION, f"The calibration is not shown: {error}.")


def threshold_of(
    guide: WeightGuide,
    rule_at: Callable[[float], PruningRule],
    chosen: float,
    data: Arrays | CheckedBatches | None,
    inputs: InputNames,
    progress: bool,
) -> Section:
    """Make the section of the slider.

    Args:
        guide: a trained guide.
        rule_at: the rule with a threshold.
        chosen: the threshold at which the network was pruned.
        data: validation data; None where there are none.
        inputs: a few inputs, and what they are called.
        progress: whether to show how far it is.
    """
    if not guide.learns_alpha:
        return left_out("threshold", TITLE, f"A {type(guide).__name__} learns no log α: there is nothing to prune by.")
    if data is None:
        why = "No validation data were held out (data.validation is 0), and nothing must be chosen by test data."
        return left_out("threshold", TITLE, why)
    curve, model = threshold_curve(guide, rule_at, chosen, data, inputs.example, progress), guide.model
    levels = {name: (curve.levels[name], model.weight_axes(name)) for name in model.order_of_execution}
    masks = [mask_picture(name, *found) for name, found in levels.items()]
    return threshold_section(curve, masks, input_picture(inputs, *next(iter(levels.values())), len(curve.steps)))
