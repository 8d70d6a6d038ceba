"""Pictures of the experiments, one function each, returning a matplotlib Figure; see :mod:`pyro_vd.plots.drawing`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import Tensor

from pyro_vd.plots.drawing import COLOURS, MARKERS, draw_band, draw_log_alpha


def bands(
    curves: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]],
    level: tuple[str, Sequence[float]],
    labels: tuple[str, str],
    title: str,
) -> Figure:
    """Curves over x, each with several values at a point: their mean as a line, their range as a band.

    Args:
        curves: by label, x and the values at each x.
        level: label and values of what does not depend on x, drawn as a horizontal line with its band.
        labels: of the axes.
        title: of the picture.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for (label, (x, values)), colour, marker in zip(curves.items(), cycle(COLOURS), cycle(MARKERS)):
        draw_band(axes, x, values, label, color=colour, marker=marker, markersize=4)
    name, values_of_level = level
    axes.axhline(sum(values_of_level) / len(values_of_level), color="black", linestyle="--", label=name)
    axes.axhspan(min(values_of_level), max(values_of_level), color="black", alpha=0.12, linewidth=0)
    axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
    axes.legend(fontsize="small")
    return figure


def elbo_terms(steps: Sequence[int], data_term: Sequence[float], kl: Sequence[float]) -> Figure:
    """The negative ELBO over the iterations, and its two terms apart, in nats, means over an epoch."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    total = [a + b for a, b in zip(data_term, kl, strict=True)]
    for values, label, colour, style in (
        (total, "negative ELBO", "black", "-"),
        (kl, "KL(q‖p)", COLOURS[0], "--"),
        (data_term, "data term, −Σ log p(y|x, w)", COLOURS[5], ":"),
    ):
        axes.plot(steps, values, color=colour, linestyle=style, label=label)
    axes.set(xlabel="iteration", ylabel="nats", yscale="log", title="negative ELBO and its terms")
    axes.legend(fontsize="small")
    return figure


def sparsity_pictures(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Figure:
    """Every weight matrix before training and after pruning: a dark point for a weight that is not zero."""
    figure = Figure(figsize=(9, 1.4 + 2.2 * len(before)), layout="constrained")
    grid = figure.subplots(len(before), 2, squeeze=False)
    for row, name in zip(grid, before, strict=True):
        for axes, weight, when in zip(row, (before[name], after[name]), ("before", "after"), strict=True):
            kept = (weight != 0).flatten(1)
            axes.imshow(kept.tolist(), cmap=ListedColormap(["white", "#1a3a5c"]), vmin=0, vmax=1, aspect="auto")
            axes.set_title(f"{name} {when}: {100 * (1 - kept.float().mean().item()):.1f} % zero", fontsize="medium")
            axes.set(xlabel="input", ylabel="unit")
    return figure


def log_alpha_histogram(log_alphas: Mapping[str, Tensor], threshold: float) -> Figure:
    """How many weights of each layer have which log α, with the threshold."""
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    draw_log_alpha(figure.subplots(), log_alphas, threshold)
    return figure


def tradeoff(
    by_threshold: Sequence[tuple[float, float, float]],
    by_weight: Sequence[tuple[float, float, float]],
    published: Mapping[str, tuple[float, float]],
    sizes: Sequence[str],
) -> Figure:
    """Test error against compression: (steered value, compression, error in %) along two curves, and published points.

    ``sizes`` says how large the file of each network of ``by_weight`` is.
    """
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    for points, label, colour, marker in (
        (by_threshold, "threshold on log α, one training at KL weight 1", COLOURS[0], "."),
        (by_weight, "KL weight β, a training each, threshold 3", COLOURS[5], "s"),
    ):
        ordered = sorted((c, e, value) for value, c, e in points if math.isfinite(c))
        axes.plot([c for c, _, _ in ordered], [e for _, e, _ in ordered], color=colour, marker=marker, label=label)
    for (value, smaller, error), size in zip(by_weight, sizes, strict=True):
        if math.isfinite(smaller):
            text = f"β {value:g}, {size}"
            axes.annotate(text, (smaller, error), (-6, 7), textcoords="offset points", fontsize="small", ha="right")
    for (label, (smaller, error)), marker in zip(published.items(), cycle("*PXd")):
        axes.plot(smaller, error, linestyle="", marker=marker, markersize=9, color="black", fillstyle="none", label=label)
    errors = [e for _, _, e in [*by_threshold, *by_weight]]
    highest = min(max(errors), 4 * min(errors))
    shown = [c for _, c, e in [*by_threshold, *by_weight] if e <= highest and math.isfinite(c)]
    shown += [c for c, _ in published.values()]
    axes.set(xlabel="compression |W| / |W kept|", ylabel="test error, %", xscale="log", title="error against compression")
    axes.set(ylim=(0, highest * 1.05), xlim=(min(shown) / 1.3, max(shown) * 1.5))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.legend(fontsize="small", loc="upper left")
    return figure


def learning_curves(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], every: Mapping[str, int]) -> Figure:
    """Train and test error over the epochs, a panel a data set, a colour a network.

    Args:
        curves: by title and by network, (train, test) errors as shares.
        every: epochs from one point to the next, by title.
    """
    figure = Figure(figsize=(5 * len(curves), 4.2), layout="constrained")
    for axes, (title, networks) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for (label, points), colour in zip(networks.items(), cycle(COLOURS)):
            epochs = [every[title] * (i + 1) for i in range(len(points))]
            for which, style, name in ((0, ":", f"{label}, train"), (1, "-", f"{label}, test")):
                axes.plot(epochs, [100 * p[which] for p in points], color=colour, linestyle=style, label=name)
        axes.set(xlabel="epoch", ylabel="error, %", title=title)
        axes.legend(fontsize="x-small")
    return figure


def memorisation(curves: Mapping[str, Sequence[tuple[float, float]]], every: int) -> Figure:
    """Accuracy on training images with random labels over the epochs: what a network has memorised."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for (label, points), colour, marker in zip(curves.items(), cycle(COLOURS), cycle(MARKERS)):
        epochs = [every * (i + 1) for i in range(len(points))]
        axes.plot(epochs, [100 * (1 - p[0]) for p in points], color=colour, marker=marker, markersize=3, label=label)
    axes.axhline(10, color="black", linestyle=":", label="chance")
    axes.set(xlabel="epoch", ylabel="accuracy on the random labels, %", title="random labels", ylim=(0, 103))
    axes.legend(fontsize="small")
    return figure


def losses(curves: Mapping[str, tuple[Sequence[tuple[int, float]], int | None]]) -> Figure:
    """Loss over the steps, each curve to its end; a cross and the step where one stops being finite."""
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for (label, (points, died)), colour in zip(curves.items(), cycle((COLOURS[5], COLOURS[1], COLOURS[0]))):
        axes.plot([s for s, _ in points], [v for _, v in points], color=colour, label=label)
        if died is not None and points:
            axes.plot(died, points[-1][1], color=colour, marker="X", markersize=10, linestyle="")
            end = died, points[-1][1]
            axes.annotate(f"not finite at step {died}", end, (-10, -4), textcoords="offset points", ha="right")
    axes.set(xlabel="step", ylabel="loss, nats", xscale="log", yscale="log", title="loss to its first value that is not finite")
    axes.legend(fontsize="small")
    return figure
