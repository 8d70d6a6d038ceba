"""Pictures of a trained posterior, one function each, which returns a matplotlib Figure without global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, PowerNorm
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.distributions.weight_posterior import MultiplicativeNormal
from pyro_vd.plots.drawing import COLOURS, SHOWN, check_image_shape, plain
from pyro_vd.plots.figure import Figure
from pyro_vd.posterior.arviz_files import has_data_tree, import_arviz, to_tree

_COLUMNS = 3
_BARS = 30  # features, at most
_CELLS = (120, 200)  # rows and columns of a mask's picture, at most


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
    figure, axes = _grid(log_alphas, (4.0, 2.7))
    low, high = SHOWN
    edges = np.linspace(low, high, 1 + round(4 * (high - low)))  # most thresholds are multiples of a quarter
    ticks = np.arange(low, high + 1, 4)
    labels = [f"≤{low:g}", *(f"{tick:g}" for tick in ticks[1:-1]), f"≥{high:g}"]
    labels = [label.replace("-", "−") for label in labels]
    for axis, (name, values) in zip(axes, log_alphas.items(), strict=True):
        removed = values >= threshold if masks is None else ~masks[name]
        parts = [values[part].clamp(low, high).tolist() for part in (~removed, removed)]
        axis.hist(parts, edges.tolist(), stacked=True, color=list(COLOURS[:2]), label=["left", "removed"])
        axis.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
        share = 100 * removed.double().mean().item()
        axis.set(
            title=f"{plain(name)}: {share:.1f} % removed", xlabel="log α", ylabel="weights", yscale="log", ylim=(0.7, None)
        )
        axis.set_xticks(ticks, labels)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _grid(panels: Mapping[str, Any], size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure with one axis per panel, each of this width and height in inches, and the axes."""
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axis in axes[len(panels) :]:
        axis.remove()
    return figure, axes[: len(panels)]


def weight_masks(masks: Mapping[str, Tensor]) -> Figure:
    """Show which weights of each layer are left, with one row per unit, and one column per input and kernel position.

    The picture of a large layer has cells of several weights each, coloured by the share of weights that are left.

    Args:
        masks: by site, True for a weight that is left, as :func:`~pyro_vd.pruning.pruning_masks` returns it.
    """
    figure, axes = _grid(masks, (4.2, 3.0))
    for axis, (name, mask) in zip(axes, masks.items(), strict=True):
        matrix = mask.flatten(1).float().cpu()  # (out, in·kernel); of a transposed convolution (in, out·kernel)
        size = tuple(math.ceil(number / most) for number, most in zip(matrix.shape, _CELLS, strict=True))
        cells = F.avg_pool2d(matrix[None], size, ceil_mode=True)[0]
        norm = PowerNorm(0.5, vmin=0, vmax=cells.max().item() or 1.0)  # so that one weight in a cell is visible
        extent = (-0.5, cells.shape[1] * size[1] - 0.5, cells.shape[0] * size[0] - 0.5, -0.5)
        image = axis.imshow(cells.numpy(), cmap="Greys", norm=norm, aspect="auto", interpolation="nearest", extent=extent)
        axis.set(title=f"{plain(name)}: {int(mask.count_nonzero())} of {mask.numel()} left", xlabel="input", ylabel="unit")
        axis.set(xlim=(-0.5, matrix.shape[1] - 0.5), ylim=(matrix.shape[0] - 0.5, -0.5))
        figure.colorbar(image, ax=axis, label="share left")
    return figure


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
        drawn = axis.imshow(image.numpy(), cmap="cividis", vmin=0, aspect="equal" if height > 1 else "auto")
        axis.set(title=f"{label} per pixel" if height > 1 else f"{label} per input")
        axis.set(xlabel="pixel column" if height > 1 else "input", ylabel="pixel row" if height > 1 else "")
        if height == 1:
            axis.set_yticks([])
        figure.colorbar(drawn, ax=axis, label=label)
    return figure


def _named_relevance(weight: Tensor, features: Sequence[str]) -> Figure:
    if weight.ndim != 2 or weight.shape[1] != len(features):
        allowed = f"one name for each input of a weight of the shape {tuple(weight.shape)}"
        raise InputError(name="features", value=list(features), allowed=allowed)
    norms, counts = weight.detach().norm(dim=0).cpu(), (weight != 0).sum(0).tolist()
    shown = norms.argsort(descending=True, stable=True)[:_BARS].tolist()
    figure = Figure(figsize=(7, 1.2 + 0.25 * len(shown)), layout="constrained")
    axis = figure.subplots()
    bars = axis.barh([plain(features[index]) for index in shown], norms[shown].tolist(), color=COLOURS[0])
    axis.bar_label(bars, [f"{counts[index]} weights" for index in shown], padding=4, fontsize="small")
    axis.margins(x=0.2)
    axis.invert_yaxis()
    read = sum(count > 0 for count in counts)
    axis.set(xlabel="norm of the weights", title=f"weights left per feature; {read} of {len(features)} features have any")
    return figure


def kl_by_layer(kl: Mapping[str, float]) -> Figure:
    """Show KL(q‖p) of each site in nats, with its share of the sum: the information that the site holds about the data.

    Args:
        kl: the KL by site, as :func:`~pyro_vd.posterior.summary.site_kl` returns it.
    """
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(kl)), layout="constrained")
    axis = figure.subplots()
    total = sum(kl.values()) or 1.0
    bars = axis.barh([plain(name) for name in kl], list(kl.values()), color=COLOURS[0])
    axis.bar_label(bars, [f"{value:.1f} nats, {100 * value / total:.1f} %" for value in kl.values()], padding=4)
    axis.margins(x=0.5)
    axis.invert_yaxis()
    axis.set(xlabel="KL in nats", title=f"KL by layer; {total:.1f} nats in all")
    return figure


def mean_against_deviation(posteriors: Mapping[str, MultiplicativeNormal], threshold: float) -> Figure:
    """Show the standard deviation of each layer's weights against |E w|, both logarithmic, with the line of one log α.

    Weights above the line have a larger log α, and are removed. Where units have noise, weights are removed by the log α of the
    unit instead, which is at most that of the weight.

    Args:
        posteriors: q(w) by site, as ``guide.posterior`` returns it. Values of zero are counted at the edge.
        threshold: log α of the line.
    """
    figure, axes = _grid(posteriors, (4.0, 3.2))
    for axis, (name, q) in zip(axes, posteriors.items(), strict=True):
        theta = q.mean.detach().abs().double().flatten().cpu()
        sigma = q.variance.detach().double().sqrt().flatten().cpu()
        x, y = _log_bins(theta), _log_bins(sigma)
        points = theta.clamp(x[0], x[-1]).numpy(), sigma.clamp(y[0], y[-1]).numpy()
        image = axis.hist2d(points[0], points[1], bins=[x, y], cmap="cividis", norm=LogNorm())[3]
        axis.plot(x, x * math.exp(threshold / 2), color=COLOURS[5], label=f"log α = {threshold:g} of a weight")
        axis.set(title=plain(name), xlabel="|θ|, smaller values at the edge", ylabel="σ", xscale="log", yscale="log")
        axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        figure.colorbar(image, ax=axis, label="weights")
    axes[0].legend(fontsize="small", loc="upper left")
    return figure


def _log_bins(values: Tensor, decades: float = 6.0) -> np.ndarray:
    """Return logarithmic bin edges for the positive values, down to at most ``decades`` below the largest."""
    positive = values[values > 0]
    high = math.log10(positive.max().item()) if len(positive) else 0.0
    low = max(math.log10(positive.min().item()), high - decades) if len(positive) else high - 1
    return np.logspace(low - 0.05, high + 0.05, 61)


def largest_weights(data: Any, most: int = 10) -> Figure:
    """Show ArviZ's forest plot of posterior draws: median, 50 % interval and 94 % interval of each number.

    Args:
        data: the result of :func:`~pyro_vd.to_inference_data`.
        most: how many numbers to show per site: those with the largest ratio of mean and standard deviation.

    Raises:
        InputError: ``data`` is neither InferenceData nor a DataTree.
        MissingPackageError: the extra ``arviz`` is not installed.
    """
    import xarray as xr

    az = import_arviz()
    numbers = {}  # one variable per number: ArviZ 1.x gives every dimension its own column of labels, and the columns overlap
    for name, array in to_tree(data)["posterior"].data_vars.items():
        drawn = array.values.reshape(-1, *array.shape[2:]).astype(np.float64)
        signal = np.abs(drawn.mean(0)) / (drawn.std(0) + np.finfo(np.float64).tiny)
        for place in np.argsort(-signal, axis=None, kind="stable")[:most]:
            index = np.unravel_index(place, signal.shape)
            labels = [str(array[dim].values[place]) for dim, place in zip(array.dims[2:], index, strict=True)]
            label = f"{name}[{', '.join(labels)}]" if labels else str(name)
            numbers[plain(label)] = (("chain", "draw"), array.values[:, :, *index])
    draws, size = xr.Dataset(numbers), (6, 1 + 0.2 * len(numbers))
    if not has_data_tree():
        figure = Figure(figsize=size, layout="constrained")
        az.plot_forest(draws, combined=True, hdi_prob=0.94, ax=figure.subplots(), textsize=9)
        return figure
    import matplotlib.pyplot as plt

    intervals = {"point_estimate": "median", "ci_kind": "hdi", "ci_probs": (0.5, 0.94)}
    layout = {"figsize": size, "layout": "constrained"}
    drawn = az.plot_forest(draws, combined=True, backend="matplotlib", figure_kwargs=layout, **intervals)
    figure = drawn.viz["figure"].item()
    plt.close(figure)  # ArviZ 1.x makes the figure with pyplot, which would keep it open
    figure.suptitle("94.0% HDI")
    return figure
