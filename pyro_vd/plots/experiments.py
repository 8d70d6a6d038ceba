"""Pictures of the experiments, one function each, which returns a matplotlib Figure without global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.colors import ListedColormap
from matplotlib.ticker import LogLocator
from torch import Tensor

from pyro_vd.plots.drawing import COLOURS, MARKERS, draw_band, draw_log_alpha
from pyro_vd.plots.figure import Figure
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD


def bands(
    curves: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]],
    level: tuple[str, Sequence[float]],
    labels: tuple[str, str],
    title: str,
) -> Figure:
    """Show curves with several values per point: their mean as a line, their range as a band.

    Args:
        curves: the points and the values at each point, by label.
        level: the label and the values of a quantity that does not depend on the points, a horizontal line with a band.
        labels: the labels of the two axes.
        title: the title of the picture.
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
    """Show the negative ELBO and its two terms, in nats, over the iterations.

    Args:
        steps: iterations.
        data_term: the negative log likelihood at each, the mean of an epoch.
        kl: the KL at each, the mean of an epoch.
    """
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
    """Show every weight matrix before training and after pruning; a weight that is not zero is a dark point.

    Args:
        before: the weights before training, by site.
        after: the weights after pruning, by site.
    """
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
    """Show one histogram of log α per layer, and the threshold."""
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    draw_log_alpha(figure.subplots(), log_alphas, threshold)
    return figure


def tradeoff(
    by_threshold: Sequence[tuple[float, float, float]],
    by_weight: Sequence[tuple[float, float, float]],
    published: Mapping[str, tuple[float, float]],
    sizes: Sequence[str],
) -> Figure:
    """Show test error against compression: two curves of pruned networks, and published results.

    Args:
        by_threshold: threshold, compression and error in % of networks from one training.
        by_weight: KL weight, compression and error in % of networks from one training each.
        published: compression and error in % of published results, by label.
        sizes: the file sizes of the networks of ``by_weight``, as texts.
    """
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    for points, label, colour, marker in (
        (by_threshold, "threshold on log α, one training at KL weight 1", COLOURS[0], "."),
        (by_weight, f"KL weight β, one training per point, threshold {DEFAULT_THRESHOLD:g}", COLOURS[5], "s"),
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
    """Show train and test error over the epochs, with one panel per data set and one colour per network.

    Args:
        curves: pairs of train and test error, as shares, by title and by network.
        every: the number of epochs between two points, by title.
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
    """Show the accuracy on training images with random labels over the epochs, which is what a network has memorised.

    Args:
        curves: pairs of train and test error, as shares, by label.
        every: the number of epochs between two points.
    """
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
    """Show loss curves over the steps; a cross marks the step at which a loss stops being finite.

    Args:
        curves: the steps with their losses in nats, and the step of the first loss that is not finite or None, by label.
    """
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for (label, (points, died)), colour in zip(curves.items(), cycle((COLOURS[5], COLOURS[1], COLOURS[0]))):
        axes.plot([s for s, _ in points], [v for _, v in points], color=colour, label=label)
        if died is not None and points:
            axes.plot(died, points[-1][1], color=colour, marker="X", markersize=10, linestyle="")
            end = died, points[-1][1]
            axes.annotate(f"not finite at step {died}", end, (-10, -4), textcoords="offset points", ha="right")
    axes.set(xlabel="step", ylabel="loss, nats", xscale="log", yscale="log", title="loss while it is finite")
    axes.legend(fontsize="small")
    return figure
