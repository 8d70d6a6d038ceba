"""log α of each layer: over the epochs, and at the end of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pyro_vd.plots.posterior import SHOWN
from pyro_vd.training.alpha_log import AlphaRecord
from pyro_vd.workflow.report_page.chart import AFTER, Chart, Trace, axis, band, line, log_axis, plain, upright
from pyro_vd.workflow.report_page.markup import paragraph
from pyro_vd.workflow.report_page.section import Section
from pyro_vd.workflow.report_page.threshold import number

TITLE = "log α by layer"
_BINS = 56
_NONE = 0.01
"""What stands for an empty bin on a logarithmic axis, below what is shown."""
_MOST = 6
"""The most layers that have a figure of their own; of more, the medians are in one."""


def alpha_section(
    log_alphas: Mapping[str, Tensor], thresholds: Mapping[str, float], history: Sequence[AlphaRecord], without: str
) -> Section:
    """Make the section.

    Args:
        log_alphas: log α of every weight at the end, by site.
        thresholds: of the sites.
        history: the quantiles after each epoch; empty where they are not known.
        without: a sentence on why they are not known.
    """
    parts: list[str | Chart] = []
    if not history:
        parts.append(paragraph(without, "left-out"))
    elif len(log_alphas) <= _MOST:
        parts.append(paragraph("After each epoch: the median, the middle half, and from the 5 % to the 95 % quantile."))
        parts += [_over_epochs(site, thresholds[site], history) for site in log_alphas]
    else:
        parts.append(_medians(list(log_alphas), history))
    return Section("alpha", TITLE, (*parts, _histogram(log_alphas, thresholds)))


def _over_epochs(site: str, threshold: float, history: Sequence[AlphaRecord]) -> Chart:
    x = [record["epoch"] for record in history]
    low, quarter, median, three, high = ([_shown(record["log_alpha"][site][k]) for record in history] for k in range(5))
    traces = [*band(x, low, high, AFTER, 0.22), *band(x, quarter, three, AFTER, 0.45), line(x, median, "median")]
    limit = {**upright(threshold), "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": threshold, "y1": threshold}
    layout = {
        "title": {"text": plain(site)},
        "xaxis": axis("epoch", tickformat=",d"),
        "yaxis": axis("log α"),
        "shapes": [limit],
        "showlegend": False,
    }
    alt = f"log α of {site} over {len(x)} epochs: the median goes from {median[0]:.1f} to {median[-1]:.1f}."
    places = sorted({round(k * (len(x) - 1) / 19) for k in range(20)})
    rows = [[x[k], *(f"{values[k]:.2f}" for values in (low, quarter, median, three, high))] for k in places]
    caption = f"Dashed: the threshold, {number(threshold)}. Values above {number(SHOWN[1])} are drawn at {number(SHOWN[1])}."
    head = ["epoch", "5 %", "25 %", "median", "75 %", "95 %"]
    return Chart(alt, traces, layout, caption, head, rows, height=280, is_half=True)


def _medians(sites: Sequence[str], history: Sequence[AlphaRecord]) -> Chart:
    x = [record["epoch"] for record in history]
    medians = {site: [_shown(record["log_alpha"][site][2]) for record in history] for site in sites}
    traces = [line(x, values, site, place) for place, (site, values) in enumerate(medians.items())]
    layout = {"xaxis": axis("epoch", tickformat=",d"), "yaxis": axis("median of log α"), "showlegend": False}
    rows = [[site, f"{values[0]:.2f}", f"{values[-1]:.2f}"] for site, values in medians.items()]
    alt = f"The median of log α of each of {len(sites)} layers over {len(x)} epochs."
    return Chart(
        alt, traces, layout, "Point at a curve for the name of its layer.", ["layer", "first epoch", "last epoch"], rows
    )


def _histogram(log_alphas: Mapping[str, Tensor], thresholds: Mapping[str, float]) -> Chart:
    low, high = SHOWN
    edges = torch.linspace(low, high, _BINS + 1)
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    traces: list[Trace] = []
    rows, most = [], 1.0
    for place, (site, values) in enumerate(log_alphas.items()):
        counts = torch.histc(values.float().nan_to_num(posinf=high, neginf=low).clamp(low, high), _BINS, low, high).tolist()
        above = int((values >= thresholds[site]).sum())
        step = line(middles, [count or _NONE for count in counts], site, place, text=[f"{count:,.0f}" for count in counts])
        step["line"]["shape"] = "hvh"
        traces.append({**step, "hovertemplate": "log α %{x:.1f}: %{text} weights"})
        most = max(most, *counts)
        rows.append([site, f"{values.numel():,}", number(thresholds[site]), f"{100 * above / values.numel():.1f} %"])
    ends = {low: f"≤ {number(low)}", high: f"≥ {number(high)}"}
    ticks = [low, *range(int(low) + 4, int(high), 4), high]
    layout = {
        "title": {"text": "at the end of the training"},
        "xaxis": axis(
            "log α", tickvals=ticks, ticktext=[ends.get(tick, number(tick)) for tick in ticks], range=[low - 0.5, high + 0.5]
        ),
        "yaxis": log_axis("weights", [0.7, most]),
        "shapes": [upright(value) for value in dict.fromkeys(thresholds.values())],
    }
    alt = f"The number of weights by log α, for each of {len(rows)} layers."
    caption = "Weights to the right of the dashed line are removed. The outermost bins hold all that is beyond."
    return Chart(alt, traces, layout, caption, ["layer", "weights", "threshold", "at or above it"], rows)


def _shown(value: float | None) -> float:
    low, high = SHOWN
    return high if value is None else min(max(value, low), high)
