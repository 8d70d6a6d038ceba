"""The threshold slider: error, compression, bytes, masks and inputs together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pyro_vd.evaluation.deployed import kilobytes
from pyro_vd.workflow.report_page.chart import BEFORE, Chart, axis, line, log_axis, upright
from pyro_vd.workflow.report_page.inputs import InputPicture
from pyro_vd.workflow.report_page.markup import escaped, paragraph, scrolled
from pyro_vd.workflow.report_page.masks import MaskPicture, packed
from pyro_vd.workflow.report_page.section import Section
from pyro_vd.workflow.report_page.threshold_curve import Step, ThresholdCurve

TITLE = "Threshold"
_NUMBERS = {
    "threshold": "threshold on log α",
    "error": "validation {score}",
    "compression": "compression of the weights",
    "sparse": "bytes of the non-zeros",
    "dense": "bytes of the compact network",
    "parameters": "parameters of the compact network",
}
"""The labels of the numbers beside the slider, by what they are of."""


def numbers_of(step: Step) -> dict[str, str]:
    """Return the numbers of a threshold as the page shows them, by the names in :data:`_NUMBERS`."""
    return {
        "threshold": number(step.threshold),
        "error": f"{step.score.cell()}{' %' if step.score.is_share else ''}",
        "compression": "∞" if math.isinf(step.compression) else f"{step.compression:,.1f}×",
        "sparse": kilobytes(step.size.sparse_bytes),
        "dense": kilobytes(step.size.bytes),
        "parameters": f"{step.size.parameters:,}",
    }


def number(value: float) -> str:
    """Return a threshold as text."""
    return "∞" if math.isinf(value) else f"{value:.4g}".replace("-", "−")


def threshold_section(curve: ThresholdCurve, masks: Sequence[MaskPicture], inputs: InputPicture | None) -> Section:
    """Make the section.

    Args:
        curve: the thresholds.
        masks: the pictures of the weights, in order.
        inputs: what is shown of the inputs.
    """
    at, steps = curve.chosen, curve.steps
    cells = {name: [numbers_of(step)[name] for step in steps] for name in _NUMBERS}
    left = {mask.site: [_left(step.left[mask.site], mask.weights) for step in steps] for mask in masks}
    slider: dict[str, Any] = {
        "numbers": cells,
        "thresholds": [step.threshold for step in steps],
        "left": list(left.values()),
        "levels": packed(torch.cat([mask.levels.flatten() for mask in masks])),
        "sizes": [list(mask.levels.shape) for mask in masks],
        "inputs": None if inputs is None else inputs.program(),
    }
    told = (
        f"Measured on {steps[at].examples:,} validation examples, at the posterior mean, without the fine-tuning that may "
        f"follow; the errors at the top of the page are with it. The network was pruned at "
        f"{number(steps[at].threshold)}; a lower threshold prunes more."
    )
    shown = [_mask(place, mask, left[mask.site][at]) for place, mask in enumerate(masks)]
    parts: list[str | Chart] = [
        paragraph(told),
        _control(cells, at, steps[0].score.label.removesuffix(" %")),
        _chart(curve),
        "<h4>Weight masks</h4>",
        paragraph("Filled: the weight is left. Empty: it is removed at this threshold.", "small"),
        f'<div class="masks">{"".join(shown)}</div>',
    ]
    return Section("threshold", TITLE, (*parts, *(inputs.parts(at) if inputs else ())), slider)


def _control(cells: Mapping[str, Sequence[str]], at: int, score: str) -> str:
    numbers = "".join(
        f'<div><dt>{escaped(label.format(score=score))}</dt><dd data-number="{name}">{escaped(cells[name][at])}</dd></div>'
        for name, label in _NUMBERS.items()
    )
    last = len(cells["threshold"]) - 1
    given = f'min="0" max="{last}" step="1" value="{at}" aria-valuetext="{escaped(cells["threshold"][at])}"'
    slider = f'<label>Threshold on log α <input type="range" data-slider {given}></label>'
    return f'<div class="control">{slider}<dl class="numbers" aria-live="polite">{numbers}</dl></div>'


def _mask(place: int, mask: MaskPicture, left: str) -> str:
    rows, columns = mask.levels.shape
    scale = max(1, min(8, 240 // rows, 800 // columns))
    name = f"mask of {escaped(mask.site)}"
    size = f'width="{columns}" height="{rows}" style="width:{columns * scale}px;height:{rows * scale}px"'
    canvas = f'<canvas data-mask="{place}" data-name="{name}" {size} role="img" aria-label="{name}"></canvas>'
    caption = f'<b>{escaped(mask.site)}</b>: <span data-left="{place}">{escaped(left)}</span>'
    below = paragraph(f"A cell is {mask.cell}.", "small")
    return f'<figure class="mask"><figcaption>{caption}</figcaption>{scrolled(canvas, mask.site)}{below}</figure>'


def _left(left: int, weights: int) -> str:
    return f"{left:,} of {weights:,} weights left ({100 * left / weights:.2f} %)"


def _chart(curve: ThresholdCurve) -> Chart:
    steps, chosen = curve.steps, curve.steps[curve.chosen]
    x = [step.threshold for step in steps]
    score = chosen.score
    name = f"validation {score.label}"
    errors, kept = [step.score.shown for step in steps], [step.compression for step in steps]
    dots = {"mode": "lines+markers", "marker": {"color": BEFORE, "size": 5}}
    traces = [{**line(x, errors, name, 1), **dots}, {**line(x, kept, "compression"), "yaxis": "y2"}]
    layout = {
        "xaxis": axis("threshold on log α", anchor="y2"),
        "yaxis": (log_axis(name, errors) if min(errors) > 0 else axis(name)) | {"domain": [0.54, 1]},
        "yaxis2": log_axis("compression", kept, "×") | {"domain": [0, 0.46]},
        "shapes": [upright(chosen.threshold)],
        "showlegend": False,
    }
    alt = (
        f"{name} and compression against the threshold, from {number(x[0])} to {number(x[-1])}. At {number(chosen.threshold)}: "
        f"{score}, {numbers_of(chosen)['compression']}."
    )
    head = [label.format(score=score.label.removesuffix(" %")) for label in _NUMBERS.values()]
    rows = [list(numbers_of(step).values()) for step in steps]
    return Chart(alt, traces, layout, "The vertical line is where the slider stands.", head, rows, height=440)
