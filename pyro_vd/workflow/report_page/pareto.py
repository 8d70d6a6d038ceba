"""Several runs: their errors against their compressions, of validation and test data apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyro_vd.evaluation.deployed import kilobytes
from pyro_vd.evaluation.score import Score
from pyro_vd.evaluation.standard_error import share_interval
from pyro_vd.workflow.comparison import RunResult
from pyro_vd.workflow.report_page.chart import AFTER, BEFORE, Chart, Trace, axis, log_axis, plain
from pyro_vd.workflow.report_page.markup import paragraph
from pyro_vd.workflow.report_page.section import Section

TITLE = "Error against compression"


def pareto_section(results: Sequence[RunResult], notes: Sequence[str]) -> Section:
    """Make the section.

    Args:
        results: of the runs, which have the same kind of score.
        notes: sentences on what cannot be compared.
    """
    label = results[0].score.label
    finite = [result.compression for result in results if math.isfinite(result.compression)]
    edge = 2 * max(finite, default=1.0)
    traces = [
        _points(results, "validation", edge, "circle-open", BEFORE),
        _points(results, "test", edge, "circle", AFTER),
        _front(results, edge),
    ]
    layout = {
        "xaxis": log_axis("compression, |W| / |W kept|", [min(result.compression, edge) for result in results], "×"),
        "yaxis": axis(label, rangemode="tozero"),
        "hovermode": "closest",
    }
    rows = [
        [
            result.run,
            result.data,
            "∞" if math.isinf(result.compression) else f"{result.compression:,.1f}×",
            "–" if result.validation is None else result.validation.cell(),
            result.score.cell(),
            kilobytes(result.deployed.sparse_bytes) if result.deployed else "–",
        ]
        for result in results
    ]
    head = ["run", "data", "compression", f"validation {label}", f"test {label}", "non-zeros"]
    alt = f"Error against compression of {len(results)} runs, on validation and on test data."
    caption = (
        "Point at a mark for its run. The line joins the runs that no other one beats in both, by their validation data: "
        "choose by these. Bars: 95 % intervals."
    )
    return Section("pareto", TITLE, (Chart(alt, traces, layout, caption, head, rows, height=440), *map(paragraph, notes)))


def front(results: Sequence[RunResult]) -> list[RunResult]:
    """Return the runs with a validation score that no other one beats in both score and compression, by compression."""
    known = [(result.validation.value, -result.compression, place) for place, result in enumerate(results) if result.validation]
    best = [
        (score, negative, place)
        for score, negative, place in known
        if not any(s <= score and c <= negative and (s, c) != (score, negative) for s, c, _ in known)
    ]
    return [results[place] for _, _, place in sorted(best, key=lambda point: -point[1])]


def _points(results: Sequence[RunResult], which: str, edge: float, symbol: str, colour: str) -> Trace:
    x, y, low, high, text = [], [], [], [], []
    for result in results:
        score = result.score if which == "test" else result.validation
        if score is None:
            continue
        ends = _interval(result, score, which)
        x.append(min(result.compression, edge))
        y.append(score.shown)
        low.append(score.shown - ends[0])
        high.append(ends[1] - score.shown)
        text.append(f"{plain(result.run)}<br>{which} {plain(str(score))}<br>{_times(result.compression)}")
    return {
        "type": "scatter",
        "mode": "markers",
        "name": which,
        "x": x,
        "y": y,
        "text": text,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": symbol, "size": 11, "color": colour, "line": {"width": 2, "color": colour}},
        "error_y": {"type": "data", "array": high, "arrayminus": low, "color": colour, "thickness": 1, "width": 3},
    }


def _front(results: Sequence[RunResult], edge: float) -> Trace:
    best = front(results)
    x, y = [min(result.compression, edge) for result in best], [result.validation.shown for result in best if result.validation]
    shape = {"color": BEFORE, "width": 1.5, "dash": "dot"}
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "best by validation",
        "x": x,
        "y": y,
        "line": shape,
        "hoverinfo": "skip",
    }


def _interval(result: RunResult, score: Score, which: str) -> tuple[float, float]:
    """The ends of the interval of a score in the unit that is shown; the score itself where it is not known."""
    se, size = (result.score_se, result.test_size) if which == "test" else (result.validation_se, result.validation_size)
    if score.is_share and se is None and size:
        low, high = share_interval(score.value, size)
        return 100 * low, 100 * high
    if se is None or not math.isfinite(se):
        return score.shown, score.shown
    half = 1.96 * se * (100 if score.is_share else 1)
    return max(0.0, score.shown - half), score.shown + half


def _times(compression: float) -> str:
    return "no weight left" if math.isinf(compression) else f"{compression:,.1f}× fewer weights"
