"""Pictures of the experiments, one function each, which returns a matplotlib Figure without global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from torch import Tensor

from pyro_vd.plots.drawing import draw_band, draw_mask
from pyro_vd.plots.figure import Figure
from pyro_vd.plots.labels import Label, label_ends, plain
from pyro_vd.plots.style import COLOURS, INK, MARKERS, MUTED, counts, ratios, styled


@styled()
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
    mean = sum(values_of_level) / len(values_of_level)
    axes.axhline(mean, color=INK, linestyle="--", label=name)
    axes.axhspan(min(values_of_level), max(values_of_level), color=INK, alpha=0.12, linewidth=0)
    axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
    ends = [
        Label(x[-1], sum(values[-1]) / len(values[-1]), plain(label), colour)
        for (label, (x, values)), colour in zip(curves.items(), cycle(COLOURS))
    ]
    label_ends(axes, [*ends, Label(axes.get_xlim()[1], mean, name, INK)])
    return figure


@styled()
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
    ends = []
    for values, label, colour, style in (
        (total, "negative ELBO", INK, "-"),
        (kl, "KL(q‖p)", COLOURS[0], "--"),
        (data_term, "data term, −Σ log p(y|x, w)", COLOURS[5], ":"),
    ):
        axes.plot(steps, values, color=colour, linestyle=style, label=label)
        ends.append(Label(steps[-1], values[-1], label, colour))
    axes.set(xlabel="iteration", ylabel="nats", yscale="log", title="negative ELBO and its terms")
    counts(axes.xaxis)
    ratios(axes.yaxis)
    label_ends(axes, ends)
    return figure


@styled()
def sparsity_pictures(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Figure:
    """Show which weights of every matrix are left after pruning, and say how many were zero before training.

    Args:
        before: the weights before training, by site.
        after: the weights after pruning, by site.
    """
    heights = [max(0.9, min(2.6, 0.03 * len(weight))) for weight in before.values()]
    figure = Figure(figsize=(8, 0.8 * len(before) + sum(heights)), layout="constrained")
    grid = figure.subplots(len(before), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, name in zip(grid, before, strict=True):
        image = draw_mask(axes, after[name] != 0)
        shares = [100 * (weights[name] == 0).float().mean().item() for weights in (before, after)]
        axes.set_title(f"{plain(name)}: {shares[0]:.1f} % zero before training, {shares[1]:.1f} % after pruning")
        if image is not None:
            figure.colorbar(image, ax=axes, label="share left")
    return figure


@styled()
def learning_curves(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], every: Mapping[str, int]) -> Figure:
    """Show train and test error over the epochs, with one panel per data set and one colour per network.

    Args:
        curves: pairs of train and test error, as shares, by title and by network.
        every: the number of epochs between two points, by title.
    """
    figure = Figure(figsize=(5.6 * len(curves), 4.4), layout="constrained")
    for axes, (title, networks) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        ends = []
        for (label, points), colour in zip(networks.items(), cycle(COLOURS)):
            epochs = [every[title] * (i + 1) for i in range(len(points))]
            for which, style, name in ((0, ":", f"{label}, train"), (1, "-", f"{label}, test")):
                axes.plot(epochs, [100 * p[which] for p in points], color=colour, linestyle=style, label=name)
            ends.append(Label(epochs[-1], 100 * points[-1][1], label, colour))
        axes.set(xlabel="epoch", ylabel="error, %", title=title, ylim=(0, None))
        counts(axes.xaxis)
        label_ends(axes, ends)
    handles = [Line2D([], [], color=MUTED, linestyle=style) for style in ("-", ":")]
    figure.legend(handles, ["test images", "training images"], loc="outside lower center", ncols=2)
    return figure


@styled()
def memorisation(curves: Mapping[str, Sequence[tuple[float, float]]], every: int) -> Figure:
    """Show the accuracy on training images with random labels over the epochs, which is what a network has memorised.

    Args:
        curves: pairs of train and test error, as shares, by label.
        every: the number of epochs between two points.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    ends = []
    for (label, points), colour, marker in zip(curves.items(), cycle(COLOURS), cycle(MARKERS)):
        epochs = [every * (i + 1) for i in range(len(points))]
        axes.plot(epochs, [100 * (1 - p[0]) for p in points], color=colour, marker=marker, markersize=3, label=label)
        ends.append(Label(epochs[-1], 100 * (1 - points[-1][0]), label, colour))
    axes.axhline(10, color=INK, linestyle=":", label="chance")
    axes.set(xlabel="epoch", ylabel="accuracy on the random labels, %", title="random labels", ylim=(0, 103))
    counts(axes.xaxis)
    label_ends(axes, [*ends, Label(axes.get_xlim()[1], 10, "chance", INK)])
    return figure


@styled()
def losses(curves: Mapping[str, tuple[Sequence[tuple[int, float]], int | None]]) -> Figure:
    """Show loss curves over the steps; a cross marks the step at which a loss stops being finite.

    Args:
        curves: the steps with their losses in nats, and the step of the first loss that is not finite or None, by label.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    ends = []
    for (label, (points, died)), colour in zip(curves.items(), cycle((COLOURS[5], COLOURS[1], COLOURS[0]))):
        axes.plot([s for s, _ in points], [v for _, v in points], color=colour, label=label)
        if not points:
            continue
        step, loss = points[-1]
        if died is not None:
            axes.plot(died, loss, color=colour, marker="X", markersize=10, linestyle="")
        ends.append(Label(died or step, loss, label + (f",\nnot finite at step {died:,}" if died else ""), colour))
    axes.set(xlabel="step", ylabel="loss, nats", xscale="log", yscale="log", title="loss while it is finite")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=9))
        counts(axis)
    label_ends(axes, ends)
    return figure
