"""Pictures of the calibration of probabilities, one function each, which returns a matplotlib Figure without global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from pyro_vd.evaluation.uncertainty import CALIBRATION_BINS, by_confidence
from pyro_vd.plots.drawing import COLOURS, MARKERS, draw_band, plain
from pyro_vd.plots.figure import Figure

_STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_FEWEST = 10


def reliability(predictions: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Show accuracy against confidence in bins of equal width, and the share of predictions in each bin.

    Below the diagonal, a network is overconfident. A bin with fewer than ten predictions has no point, because its accuracy
    would be dominated by chance.

    Args:
        predictions: probabilities ``(n, classes)`` and labels ``(n,)``, by the label of the curve.
    """
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    shares, axes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.4))
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, label="accuracy = confidence")
    edges = torch.linspace(0, 1, CALIBRATION_BINS + 1, dtype=torch.float64)
    for (label, (p, y)), colour, style, marker in zip(predictions.items(), cycle(COLOURS), cycle(_STYLES), cycle(MARKERS)):
        confidence, right = (part.cpu() for part in by_confidence(p, y))
        bins = torch.bucketize(confidence, edges[1:-1])
        counts, said, found = (torch.bincount(bins, of, CALIBRATION_BINS) for of in (None, confidence, right))
        shown = counts >= _FEWEST
        points = (said / counts)[shown].tolist(), (found / counts)[shown].tolist()
        axes.plot(*points, color=colour, linestyle=style, marker=marker, markersize=4, label=plain(label))
        shares.stairs((100 * counts / len(y)).tolist(), edges.tolist(), color=colour, linestyle=style)
    shares.set(ylabel="predictions, %", yscale="log", title="reliability")
    axes.set(xlabel="confidence, largest probability", ylabel="accuracy")
    axes.legend(fontsize="small")
    return figure


def error_against_coverage(curves: Mapping[str, Sequence[Tensor]]) -> Figure:
    """Show the error of the most confident predictions against their share: mean and range of several curves per label.

    Args:
        curves: by label, results of :func:`~pyro_vd.evaluation.uncertainty.risk_coverage`, one per seed, of equal length.
    """
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    for (label, several), colour, style in zip(curves.items(), cycle(COLOURS), cycle(_STYLES)):
        errors = 100 * torch.stack(list(several)).cpu()
        places = torch.linspace(0, errors.shape[1] - 1, min(200, errors.shape[1])).round().long()
        coverage = (100 * (places + 1) / errors.shape[1]).tolist()
        draw_band(axes, coverage, errors[:, places].T.tolist(), label, color=colour, linestyle=style)
    axes.set(xlabel="coverage: share of predictions kept, %", ylabel="error of what is kept, %", title="error against coverage")
    axes.legend(fontsize="small")
    return figure
