"""Pictures of a trained posterior, one function each, which returns a matplotlib Figure without global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.distributions.weight_posterior import MultiplicativeNormal
from pyro_vd.plots.drawing import check_image_shape, draw_mask, panels
from pyro_vd.plots.figure import Figure
from pyro_vd.plots.labels import plain
from pyro_vd.plots.style import COLOURS, INK, PAPER, SMALL, counts, signed, styled
from pyro_vd.posterior.arviz_files import to_tree

_BARS = 30  # features, at most
_DRAWS = ((3, 97, 1.2), (25, 75, 3.6))  # percentiles of an interval, and the width of its line

SHOWN = (-12.0, 16.0)
"""The range of log α that is shown; values outside of it are counted at its ends."""


@styled()
def log_alpha_histograms(
    log_alphas: Mapping[str, Tensor], threshold: float, masks: Mapping[str, Tensor] | None = None
) -> Figure:
    """Show one histogram of log α per layer, with the threshold; values outside of the axis, also +∞, are counted at its ends.

    Args:
        log_alphas: log α by site, as :func:`~pyro_vd.log_alpha` returns it.
        threshold: the threshold on log α; weights at or above it are removed.
        masks: by site, True for a weight that is left, if more than the threshold removes weights; see
            :func:`~pyro_vd.pruning.pruning_masks`.
    """
    figure, axes = panels(log_alphas, (3.2, 2.7), (7.0, 3.8))
    low, high = SHOWN
    edges = np.linspace(low, high, 1 + round(4 * (high - low)))  # most thresholds are multiples of a quarter
    ticks = np.arange(low, high + 1, 4)
    labels = [f"≤{signed(low)}", *(signed(tick) for tick in ticks[1:-1]), f"≥{signed(high)}"]
    for axis, (name, values) in zip(axes, log_alphas.items(), strict=True):
        removed = values >= threshold if masks is None else ~masks[name]
        parts = [values[part].clamp(low, high).tolist() for part in (~removed, removed)]
        axis.hist(parts, edges.tolist(), stacked=True, color=list(COLOURS[:2]), label=["left", "removed"])
        axis.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label=f"threshold {signed(threshold)}")
        share = 100 * removed.double().mean().item()
        axis.set(
            title=f"{plain(name)}: {share:.1f} % removed", xlabel="log α", ylabel="weights", yscale="log", ylim=(0.7, None)
        )
        axis.set_xticks(ticks, labels)
        axis.yaxis.set_major_locator(LogLocator(numticks=8))
        counts(axis.yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@styled()
def weight_masks(masks: Mapping[str, Tensor]) -> Figure:
    """Show which weights of each layer are left, with one row per unit, and one column per input and kernel position.

    The picture of a large layer has cells of several weights each, coloured by the share of weights that are left.

    Args:
        masks: by site, True for a weight that is left, as :func:`~pyro_vd.pruning.pruning_masks` returns it.
    """
    figure, axes = panels(masks, (3.4, 2.7), (7, 3.6))
    for axis, (name, mask) in zip(axes, masks.items(), strict=True):
        image = draw_mask(axis, mask)
        axis.set_title(f"{plain(name)}: {int(mask.count_nonzero()):,} of {mask.numel():,} left")
        if image is not None:
            figure.colorbar(image, ax=axis, label="share left")
    return figure


@styled()
def input_relevance(
    weight: Tensor, image_shape: tuple[int, int] | None = None, features: Sequence[str] | None = None
) -> Figure:
    """Show how strongly the first layer depends on each input: the number of weights that are left, and their norm √Σθ².

    Args:
        weight: the weight ``(units, inputs)`` of the pruned first layer, zero where a weight is removed.
        image_shape: height and width in pixels, if the inputs are an image; channels come first, and are summed. None shows the
            inputs in one row.
        features: the names of the inputs, of which the 30 with the largest norm are shown as bars; None where they have none.

    Raises:
        InputError: ``weight`` is not a matrix, its inputs are not channels of such an image, or there are more or fewer names.
    """
    if features is not None:
        return _named_relevance(weight, features)
    height, width = check_image_shape(image_shape, weight, channels=True)
    pixels = weight.detach().cpu().T.reshape(-1, height, width, len(weight)).movedim(0, -1).flatten(2)
    figure = Figure(figsize=(8.4, 3.4 if height > 1 else 2.4), layout="constrained")
    images = {"weights left": (pixels != 0).sum(-1), "norm of the weights": pixels.norm(dim=-1)}
    for axis, (label, image) in zip(figure.subplots(1, 2), images.items(), strict=True):
        aspect = "equal" if height > 1 else "auto"
        drawn = axis.imshow(image.numpy(), vmin=0, aspect=aspect, interpolation="nearest")
        axis.set(title=f"{label} per pixel" if height > 1 else f"{label} per input")
        axis.set(xlabel="pixel column" if height > 1 else "input", ylabel="pixel row" if height > 1 else "")
        bar = figure.colorbar(drawn, ax=axis, label=label)
        for one in (axis.xaxis, axis.yaxis, *([bar.ax.yaxis] if label == "weights left" else [])):
            counts(one)
        if height == 1:
            axis.set_yticks([])
    return figure


def _named_relevance(weight: Tensor, features: Sequence[str]) -> Figure:
    if weight.ndim != 2 or weight.shape[1] != len(features):
        allowed = f"one name for each input of a weight of the shape {tuple(weight.shape)}"
        raise InputError(name="features", value=list(features), allowed=allowed)
    norms, left = weight.detach().norm(dim=0).cpu(), (weight != 0).sum(0).tolist()
    shown = norms.argsort(descending=True, stable=True)[:_BARS].tolist()
    figure = Figure(figsize=(7, 1.2 + 0.25 * len(shown)), layout="constrained")
    axis = figure.subplots()
    bars = axis.barh([plain(features[index]) for index in shown], norms[shown].tolist(), color=COLOURS[0])
    axis.bar_label(bars, [f"{left[index]:,} weight{'s' * (left[index] != 1)}" for index in shown], padding=4, fontsize=SMALL)
    axis.margins(x=0.2)
    axis.invert_yaxis()
    read = sum(count > 0 for count in left)
    axis.set(xlabel="norm of the weights", title=f"weights left per feature; {read:,} of {len(features):,} features have any")
    return figure


@styled()
def kl_by_layer(kl: Mapping[str, float]) -> Figure:
    """Show KL(q‖p) of each site in nats, with its share of the sum: the information that the site holds about the data.

    Args:
        kl: the KL by site, as :func:`~pyro_vd.posterior.summary.site_kl` returns it.
    """
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(kl)), layout="constrained")
    axis = figure.subplots()
    total = sum(kl.values()) or 1.0
    bars = axis.barh([plain(name) for name in kl], list(kl.values()), color=COLOURS[0])
    axis.bar_label(bars, [f"{value:,.1f} nats, {100 * value / total:.1f} %" for value in kl.values()], padding=4)
    axis.margins(x=0.5)
    axis.invert_yaxis()
    axis.set(xlabel="KL in nats", title=f"KL by layer; {total:,.1f} nats in all")
    axis.xaxis.set_major_formatter("{x:,.10g}")
    return figure


@styled()
def mean_against_deviation(posteriors: Mapping[str, MultiplicativeNormal], threshold: float) -> Figure:
    """Show the standard deviation of each layer's weights against |E w|, both logarithmic, with the line of one log α.

    Weights above the line have a larger log α, and are removed. Where units have noise, weights are removed by the log α of the
    unit instead, which is at most that of the weight.

    Args:
        posteriors: q(w) by site, as ``guide.posterior`` returns it. Values of zero are counted at the edge.
        threshold: log α of the line.
    """
    figure, axes = panels(posteriors, (3.4, 2.9), (6.0, 4.2))
    for axis, (name, q) in zip(axes, posteriors.items(), strict=True):
        theta = q.mean.detach().abs().double().flatten().cpu()
        sigma = q.variance.detach().double().sqrt().flatten().cpu()
        x, y = _log_bins(theta), _log_bins(sigma)
        points = theta.clamp(x[0], x[-1]).numpy(), sigma.clamp(y[0], y[-1]).numpy()
        image = axis.hist2d(points[0], points[1], bins=[x, y], norm=LogNorm())[3]
        axis.plot(x, x * math.exp(threshold / 2), color=COLOURS[5], label=f"log α = {signed(threshold)} of a weight")
        axis.set(title=plain(name), xlabel="|θ|, smaller values at the edge", ylabel="σ", xscale="log", yscale="log")
        axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        counts(figure.colorbar(image, ax=axis, label="weights").ax.yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center")
    return figure


def _log_bins(values: Tensor, decades: float = 6.0) -> np.ndarray:
    """Return logarithmic bin edges for the positive values, down to at most ``decades`` below the largest."""
    positive = values[values > 0]
    high = math.log10(positive.max().item()) if len(positive) else 0.0
    low = max(math.log10(positive.min().item()), high - decades) if len(positive) else high - 1
    return np.logspace(low - 0.05, high + 0.05, 61)


def largest_weights(data: Any, most: int = 10) -> Figure:
    """Show a forest plot of posterior draws: median, 50 % interval and 94 % interval of each number, and a line at zero.

    Args:
        data: the result of :func:`~pyro_vd.to_inference_data`.
        most: how many numbers to show per site: those with the largest ratio of mean and standard deviation.

    Raises:
        InputError: ``data`` is neither InferenceData nor a DataTree.
        MissingPackageError: the extra ``arviz`` is not installed.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in to_tree(data)["posterior"].data_vars.items():
        drawn = array.values.reshape(-1, *array.shape[2:]).astype(np.float64)
        signal = np.abs(drawn.mean(0)) / (drawn.std(0) + np.finfo(np.float64).tiny)
        for place in np.argsort(-signal, axis=None, kind="stable")[:most]:
            index = np.unravel_index(place, signal.shape)
            labels = [str(array[dim].values[at]) for dim, at in zip(array.dims[2:], index, strict=True)]
            label = f"{name}[{', '.join(labels)}]" if labels else str(name)
            found.setdefault(str(name), {})[label] = drawn[:, *index]
    return _forest(found)


@styled()
def _forest(draws: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw intervals of numbers, from top to bottom, with one colour per site."""
    rows = [(name, label, values) for name, site in draws.items() for label, values in site.items()]
    figure = Figure(figsize=(7, 1.1 + 0.22 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=1)
    colours = dict(zip(draws, cycle(COLOURS)))
    for place, (name, _, values) in enumerate(rows):
        for low, high, width in _DRAWS:
            ends = np.percentile(values, (low, high))
            axes.plot(ends, [place, place], color=colours[name], linewidth=width, solid_capstyle="butt")
        axes.plot(np.median(values), place, "o", color=PAPER, markeredgecolor=colours[name], markersize=5)
    axes.set_yticks(range(len(rows)), [plain(label) for _, label, _ in rows], fontsize=SMALL)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="value")
    axes.set_title("median, 50 % and 94 % interval of the posterior")
    axes.grid(axis="x")
    return figure
