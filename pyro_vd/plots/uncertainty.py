"""Pictures of the calibration of probabilities, one function each, which returns a matplotlib Figure without global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import torch
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from pyro_vd.evaluation.standard_error import share_interval
from pyro_vd.evaluation.uncertainty import CALIBRATION_BINS, confidence_bins
from pyro_vd.plots.drawing import draw_band
from pyro_vd.plots.figure import Figure
from pyro_vd.plots.labels import Label, label_ends, plain
from pyro_vd.plots.style import COLOURS, DASHES, INK, MUTED, ratios, styled

_COLUMNS = 3
_FEWEST = 10
_LEAST = 70.0  # the smallest coverage that is shown, in %
_TICKS = (70, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99)


@styled()
def reliability(predictions: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Show accuracy against confidence in bins of equal width, with the interval of 95 % of each, and the share of each bin.

    Below the diagonal, a network is overconfident. The expected calibration error (ECE) is the mean distance from it, weighted
    by the shares of the bins, which bars at the bottom show. A bin with fewer than ten predictions has no point, because its
    accuracy would be dominated by chance.

    Args:
        predictions: probabilities ``(n, classes)`` and labels ``(n,)``, by the label of the panel.
    """
    columns = min(_COLUMNS, len(predictions))
    rows = math.ceil(len(predictions) / columns)
    figure = Figure(figsize=(max(4.2, 3.1 * columns), 3.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten().tolist()
    for axes in grid[len(predictions) :]:
        axes.remove()
    edges = [k / CALIBRATION_BINS for k in range(CALIBRATION_BINS)]
    for (label, (p, y)), axes in zip(predictions.items(), grid, strict=False):
        counts, said, found = bins = confidence_bins(p, y)
        shown = counts >= _FEWEST
        x, accuracy = (said / counts)[shown].tolist(), (found / counts)[shown].tolist()
        ends = [share_interval(share, number) for share, number in zip(accuracy, counts[shown].tolist(), strict=True)]
        bars = [[max(0.0, a - low) for a, (low, _) in zip(accuracy, ends, strict=True)]]  # an end is 0 or 1 but for rounding
        bars += [[max(0.0, high - a) for a, (_, high) in zip(accuracy, ends, strict=True)]]
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="accuracy = confidence")
        axes.bar(edges, (counts / len(y)).tolist(), 1 / CALIBRATION_BINS, align="edge", color="#DCE3EA")
        axes.errorbar(x, accuracy, bars, fmt="o", color=COLOURS[0], markersize=4, elinewidth=1.2, capsize=2, label=plain(label))
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), title=f"{plain(label)}: ECE {100 * bins.calibration_error:.2f} %")
        axes.tick_params(labelbottom=True)
    figure.supxlabel("confidence, the largest probability", fontsize=9.5, color=INK)
    figure.supylabel("accuracy; bars: share of the predictions", fontsize=9.5, color=INK)
    return figure


@styled()
def error_against_coverage(curves: Mapping[str, Sequence[Tensor]]) -> Figure:
    """Show the error of the most confident predictions against their share: mean and range of several curves per label.

    Both scales are logarithmic, that of the coverage in the share that is refused, from 70 % to nothing refused. An error of
    zero is not drawn.

    Args:
        curves: by label, results of :func:`~pyro_vd.evaluation.uncertainty.risk_coverage`, one per seed, of equal length.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    labels, least, edge = [], math.inf, math.inf
    for (label, several), colour, dashes in zip(curves.items(), cycle(COLOURS), cycle(DASHES)):
        errors = 100 * torch.stack(list(several)).cpu().double()
        number = errors.shape[1]
        nothing = 50 / number  # where nothing is refused: half of one example, in %
        refused = torch.logspace(math.log10(nothing), math.log10(100 - _LEAST), 200, dtype=torch.float64)
        refused = torch.unique((refused * number / 100).round()).clamp(max=number - 1)
        x = (100 * refused / number).clamp(min=nothing)
        values = errors[:, (number - 1 - refused.long())].T
        drawn = values.mean(1) > 0
        if not drawn.any():
            drawn[:] = True
        x, values = x[drawn], values[drawn]
        floor = max(values[values > 0].min().item() if (values > 0).any() else 1e-3, 1e-4)
        draw_band(axes, x.tolist(), values.clamp(min=floor / 2).tolist(), label, color=colour, linestyle=dashes)
        labels.append(Label(x[0].item(), max(values[0].mean().item(), floor / 2), plain(label), colour))
        least, edge = min(least, values.mean(1).clamp(min=floor / 2).min().item()), min(edge, nothing)
    axes.set(xlim=(100 - _LEAST, edge), ylim=(least / 1.5, None))
    ticks = [tick for tick in _TICKS if 100 - tick > 2 * edge]
    axes.xaxis.set_major_locator(FixedLocator([100 - tick for tick in ticks] + [edge]))
    axes.xaxis.set_major_formatter(_named([f"{tick:g}" for tick in ticks] + ["100"]))
    axes.xaxis.set_minor_locator(NullLocator())
    ratios(axes.yaxis)
    axes.set(xlabel="coverage: share of predictions kept, %", ylabel="error of what is kept, %")
    axes.set_title("error against coverage; bands: range over seeds")
    axes.grid()
    label_ends(axes, labels)
    return figure


def _named(names: Sequence[str]) -> Any:
    return lambda _, place: names[place] if place is not None and place < len(names) else ""
