"""The calibration of predictions before and after pruning, and the error against the share that is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pyro_vd.evaluation.prediction import NumberPrediction, Prediction, Predictions
from pyro_vd.evaluation.standard_error import share_interval
from pyro_vd.evaluation.uncertainty import CALIBRATION_BINS, confidence_bins, risk_coverage
from pyro_vd.workflow.report_page.chart import Chart, Trace, axis, line, log_axis
from pyro_vd.workflow.report_page.markup import paragraph, table
from pyro_vd.workflow.report_page.section import Section, left_out

TITLE = "Calibration"
Measures = tuple[Sequence[str], Sequence[Sequence[str]]]
"""The head and the rows of a table of measures; no rows where there is none."""
_FEWEST = 10
"""A bin with fewer predictions is left out: chance would dominate it."""
_LEVELS = tuple(k / 10 for k in range(1, 10))
_LOWEST = 0.7
"""The lowest coverage that is shown."""


def calibration_section(
    predictions: Mapping[str, Predictions],
    y: Any,
    measured: Measures,
    notes: Sequence[str],
) -> Section:
    """Make the section.

    Args:
        predictions: of the test data, by the name of the network: first before, then after.
        y: the observations.
        measured: the head and the rows of the table of measures on all test data.
        notes: sentences for the reader.
    """
    parts: list[str | Chart] = [paragraph(note) for note in notes]
    if measured[1]:
        parts.append(table(*measured, "Measures on the test data"))
    if not isinstance(y, Tensor):
        return left_out("calibration", TITLE, "Several heads are observed: their calibration is not shown.")
    classes = {name: found for name, found in predictions.items() if isinstance(found, Prediction)}
    numbers = {name: found for name, found in predictions.items() if isinstance(found, NumberPrediction)}
    if classes and (not y.is_floating_point() or bool(((y == 0) | (y == 1)).all())):
        labelled = {name: _labelled(found, y) for name, found in classes.items()}
        if any(not len(labels) for _, labels in labelled.values()):
            parts.append(paragraph("No label of these data counts: there is no figure of the calibration.", "left-out"))
        else:
            parts += [_reliability(labelled), _risk(labelled)]
    elif numbers:
        parts.append(_coverage(numbers, y))
    else:
        parts.append(paragraph("For observations of this kind there is no figure of the calibration.", "left-out"))
    return Section("calibration", TITLE, tuple(parts))


def _labelled(found: Prediction, y: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities ``(n, classes)`` and labels ``(n,)``, without labels that stand for none."""
    p, labels = found.log_p.exp().flatten(0, -2), y.flatten().long()
    kept = (labels >= 0) & (labels < p.shape[-1])
    return p[kept], labels[kept]


def _reliability(labelled: Mapping[str, tuple[Tensor, Tensor]]) -> Chart:
    traces: list[Trace] = [_diagonal("confidence = accuracy")]
    rows = []
    for place, (name, (p, y)) in enumerate(labelled.items()):
        counts, said, found = confidence_bins(p, y)
        shown = [k for k in range(CALIBRATION_BINS) if counts[k] >= _FEWEST]
        x, share = ([(of[k] / counts[k]).item() for k in shown] for of in (said, found))
        traces.append(_with_bars(x, share, [int(counts[k]) for k in shown], name, 1 - place))
        rows += [[name, f"{a:.3f}", f"{b:.3f}", f"{int(counts[k]):,}"] for a, b, k in zip(x, share, shown, strict=True)]
    layout = {
        "xaxis": axis("confidence: the largest probability", range=[0, 1.02]),
        "yaxis": axis("share that is right", range=[0, 1.05]),
    }
    caption = (
        f"Below the diagonal, a network is too sure. Bars: 95 % intervals. Of {CALIBRATION_BINS} bins of equal width, those "
        f"with at least {_FEWEST} predictions."
    )
    alt = f"The share of right predictions against the confidence, for {' and '.join(labelled)}."
    return Chart(alt, traces, layout, caption, ["network", "confidence", "right", "predictions"], rows, height=400)


def _with_bars(x: list[float], share: list[float], counts: Sequence[int], name: str, number: int) -> Trace:
    ends = [share_interval(value, count) for value, count in zip(share, counts, strict=True)]
    curve = line(x, share, name, number)
    high = [end - value for (_, end), value in zip(ends, share, strict=True)]
    low = [value - end for (end, _), value in zip(ends, share, strict=True)]
    colour = curve["line"]["color"]
    bars = {"type": "data", "array": high, "arrayminus": low, "color": colour, "thickness": 1, "width": 3}
    return {**curve, "mode": "lines+markers", "marker": {"size": 6, "color": colour}, "error_y": bars}


def _risk(labelled: Mapping[str, tuple[Tensor, Tensor]]) -> Chart:
    traces: list[Trace] = []
    rows = []
    for place, (name, (p, y)) in enumerate(labelled.items()):
        errors = 100 * risk_coverage(p, y)
        count = len(errors)
        places = sorted({round(count * (_LOWEST + (1 - _LOWEST) * k / 150)) - 1 for k in range(151)} - {-1})
        x, values = [100 * (k + 1) / count for k in places], [errors[k].item() for k in places]
        traces.append(line(x, [value or None for value in values], name, 1 - place))
        shares = [(share, errors[max(0, round(share * count) - 1)].item()) for share in (0.7, 0.8, 0.9, 0.95, 1.0)]
        rows += [[name, f"{100 * share:.0f} %", f"{value:.2f} %"] for share, value in shares]
    layout = {
        "xaxis": axis("coverage: share of predictions that is kept, %", range=[100 * _LOWEST, 100]),
        "yaxis": log_axis("error of what is kept, %", [value for trace in traces for value in trace["y"]]),
    }
    alt = f"The error of the most confident predictions against their share, for {' and '.join(labelled)}."
    caption = "Kept are the predictions of the highest confidence. A curve ends where no error is left among them."
    return Chart(alt, traces, layout, caption, ["network", "coverage", "error"], rows)


def _coverage(numbers: Mapping[str, NumberPrediction], y: Tensor) -> Chart:
    traces: list[Trace] = [_diagonal("exact intervals")]
    rows = []
    for place, (name, found) in enumerate(numbers.items()):
        shares = []
        for level in _LEVELS:
            low, high = found.interval(level)
            shares.append(((y >= low) & (y <= high)).double().mean().item())
        traces.append(_with_bars(list(_LEVELS), shares, [y.numel()] * len(_LEVELS), name, 1 - place))
        rows += [[name, f"{100 * level:.0f} %", f"{100 * share:.1f} %"] for level, share in zip(_LEVELS, shares, strict=True)]
    layout = {
        "xaxis": axis("level of the interval", range=[0, 1.02]),
        "yaxis": axis("share of observations inside", range=[0, 1.05]),
    }
    alt = f"The share of observations inside central intervals against their level, for {' and '.join(numbers)}."
    caption = "Below the diagonal, the intervals are too narrow. Bars: 95 % intervals."
    return Chart(alt, traces, layout, caption, ["network", "level", "inside"], rows, height=400)


def _diagonal(name: str) -> Trace:
    return {**line([0, 1], [0, 1], name, 5), "hoverinfo": "skip", "line": {"color": "#5a5f66", "dash": "dot", "width": 1.5}}
