"""Pictures of a trained posterior, one function each, returning a matplotlib Figure; they work without a display."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.distributions.weight_posterior import MultiplicativeNormal
from pyro_vd.plots.drawing import COLOURS, SHOWN
from pyro_vd.posterior.arviz_files import has_data_tree, import_arviz, to_tree

_COLUMNS = 3
_CELLS = (120, 200)  # rows and columns of a mask's picture, at most


def log_alpha_histograms(
    log_alphas: Mapping[str, Tensor], threshold: float, masks: Mapping[str, Tensor] | None = None
) -> Figure:
    """How log α is spread in each layer, with the threshold; values beyond the axis, +∞ too, are counted at its ends.

    Args:
        log_alphas: as :func:`~pyro_vd.guides.alpha.log_alpha` gives.
        threshold: weights at or right of it are removed.
        masks: True for a weight that is left, where others are removed as well; see :func:`~pyro_vd.pruning.pruning_masks`.
    """
    figure, axes = _grid(log_alphas, (4.0, 2.7))
    low, high = SHOWN
    edges = np.linspace(low, high, 1 + round(4 * (high - low)))  # thresholds are mostly quarters
    ticks = np.arange(low, high + 1, 4)
    labels = [f"≤{low:g}", *(f"{tick:g}" for tick in ticks[1:-1]), f"≥{high:g}"]
    labels = [label.replace("-", "−") for label in labels]
    for axis, (name, values) in zip(axes, log_alphas.items(), strict=True):
        removed = values >= threshold if masks is None else ~masks[name]
        parts = [values[part].clamp(low, high).tolist() for part in (~removed, removed)]
        axis.hist(parts, edges.tolist(), stacked=True, color=list(COLOURS[:2]), label=["left", "removed"])
        axis.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
        share = 100 * removed.double().mean().item()
        axis.set(title=f"{name}: {share:.1f} % removed", xlabel="log α", ylabel="weights", yscale="log", ylim=(0.7, None))
        axis.set_xticks(ticks, labels)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _grid(panels: Mapping[str, Any], size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure with an axis a panel, each of a width and height in inches; unused ones are taken away."""
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axis in axes[len(panels) :]:
        axis.remove()
    return figure, axes[: len(panels)]


def weight_masks(masks: Mapping[str, Tensor]) -> Figure:
    """Which weights of each layer are left: one row per unit, one column per input and place of a kernel.

    A large layer is shown in cells of several weights, coloured by the share that is left.

    Args:
        masks: True for a weight that is left, as :func:`~pyro_vd.pruning.pruning_masks` gives.
    """
    figure, axes = _grid(masks, (4.2, 3.0))
    for axis, (name, mask) in zip(axes, masks.items(), strict=True):
        matrix = mask.flatten(1).float().cpu()  # (out, in·kernel); of a transposed convolution (in, out·kernel)
        size = tuple(math.ceil(number / most) for number, most in zip(matrix.shape, _CELLS, strict=True))
        cells = F.avg_pool2d(matrix[None], size, ceil_mode=True)[0]
        norm = PowerNorm(0.5, vmin=0, vmax=cells.max().item() or 1.0)  # one weight in a cell is seen
        extent = (-0.5, cells.shape[1] * size[1] - 0.5, cells.shape[0] * size[0] - 0.5, -0.5)
        image = axis.imshow(cells.numpy(), cmap="Greys", norm=norm, aspect="auto", interpolation="nearest", extent=extent)
        axis.set(title=f"{name}: {int(mask.sum())} of {mask.numel()} left", xlabel="input", ylabel="unit")
        axis.set(xlim=(-0.5, matrix.shape[1] - 0.5), ylim=(matrix.shape[0] - 0.5, -0.5))
        figure.colorbar(image, ax=axis, label="share left")
    return figure


def input_relevance(weight: Tensor, image_shape: tuple[int, int] | None = None) -> Figure:
    """How much the first layer reads each input: the number of weights left, and their norm √Σθ².

    Args:
        weight: the pruned first layer ``(units, inputs)``, zero where a weight was removed.
        image_shape: height and width, if the inputs are an image's pixels; channels, which come first, are summed. None
            shows the inputs in one row.

    Raises:
        InputError: the weight is no matrix, or reads no such image.
    """
    height, width = image_shape or (1, weight.shape[-1])
    if weight.ndim != 2 or weight.shape[1] % (height * width):
        raise InputError(f"image_shape (={image_shape}) does not fit a first layer of shape {tuple(weight.shape)}")
    pixels = weight.detach().cpu().T.reshape(-1, height, width, len(weight)).movedim(0, -1).flatten(2)
    figure = Figure(figsize=(8.4, 3.4 if height > 1 else 2.4), layout="constrained")
    images = {"weights left": (pixels != 0).sum(-1), "norm of the weights": pixels.norm(dim=-1)}
    for axis, (label, image) in zip(figure.subplots(1, 2), images.items(), strict=True):
        drawn = axis.imshow(image.numpy(), cmap="cividis", vmin=0, aspect="equal" if height > 1 else "auto")
        axis.set(title=f"{label} a pixel" if height > 1 else f"{label} an input")
        axis.set(xlabel="pixel column" if height > 1 else "input", ylabel="pixel row" if height > 1 else "")
        if height == 1:
            axis.set_yticks([])
        figure.colorbar(drawn, ax=axis, label=label)
    return figure


def kl_by_layer(kl: Mapping[str, float]) -> Figure:
    """KL(q‖p) of each site in nats, with its share of the sum: what the model pays for what the site knows.

    Args:
        kl: as :func:`~pyro_vd.posterior.summary.site_kl` gives.
    """
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(kl)), layout="constrained")
    axis = figure.subplots()
    total = sum(kl.values()) or 1.0
    bars = axis.barh(list(kl), list(kl.values()), color=COLOURS[0])
    axis.bar_label(bars, [f"{value:.1f} nats, {100 * value / total:.1f} %" for value in kl.values()], padding=4)
    axis.margins(x=0.5)
    axis.invert_yaxis()
    axis.set(xlabel="KL in nats", title=f"KL by layer; {total:.1f} nats in all")
    return figure


def mean_against_deviation(posteriors: Mapping[str, MultiplicativeNormal], threshold: float) -> Figure:
    """|E w| against the deviation of each layer's weights, both logarithmic; above the line log α of a weight is larger.

    Weights above it are removed, but where whole units have noise: those go by the α of the unit, which is at most a weight's.

    Args:
        posteriors: q(w) by site, as ``guide.posterior`` gives.
        threshold: log α of the line. Zeros of θ or σ are counted at the edge.
    """
    figure, axes = _grid(posteriors, (4.0, 3.2))
    for axis, (name, q) in zip(axes, posteriors.items(), strict=True):
        theta = q.mean.detach().abs().double().flatten().cpu()
        sigma = q.variance.detach().double().sqrt().flatten().cpu()
        x, y = _log_bins(theta), _log_bins(sigma)
        points = theta.clamp(x[0], x[-1]).numpy(), sigma.clamp(y[0], y[-1]).numpy()
        image = axis.hist2d(points[0], points[1], bins=[x, y], cmap="cividis", norm=LogNorm())[3]
        axis.plot(x, x * math.exp(threshold / 2), color=COLOURS[5], label=f"log α = {threshold:g} of a weight")
        axis.set(title=name, xlabel="|θ|, smaller at the edge", ylabel="σ", xscale="log", yscale="log")
        axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        figure.colorbar(image, ax=axis, label="weights")
    axes[0].legend(fontsize="small", loc="upper left")
    return figure


def _log_bins(values: Tensor, decades: float = 6.0) -> np.ndarray:
    """Edges that hold the positive values, at most so many decades below the largest."""
    positive = values[values > 0]
    high = math.log10(positive.max().item()) if len(positive) else 0.0
    low = max(math.log10(positive.min().item()), high - decades) if len(positive) else high - 1
    return np.logspace(low - 0.05, high + 0.05, 61)


def largest_weights(data: Any, most: int = 10) -> Figure:
    """ArviZ's forest plot of the posterior draws: median, central half and 94 % interval of each number drawn.

    Args:
        data: what :func:`~pyro_vd.posterior.inference_data.to_inference_data` gives.
        most: numbers per site, those whose mean is largest in deviations.
    """
    import xarray as xr

    az = import_arviz()
    numbers = {}  # a variable each: ArviZ 1.x gives every dimension a column of labels, which then overlap
    for name, array in to_tree(data)["posterior"].data_vars.items():
        drawn = array.values.reshape(-1, *array.shape[2:]).astype(np.float64)
        signal = np.abs(drawn.mean(0)) / (drawn.std(0) + np.finfo(np.float64).tiny)
        for place in np.argsort(-signal, axis=None, kind="stable")[:most]:
            index = np.unravel_index(place, signal.shape)
            labels = [str(array[dim].values[place]) for dim, place in zip(array.dims[2:], index, strict=True)]
            label = f"{name}[{', '.join(labels)}]" if labels else str(name)
            numbers[label] = (("chain", "draw"), array.values[:, :, *index])
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
    plt.close(figure)  # ArviZ 1.x makes it with pyplot, which would keep it
    figure.suptitle("94.0% HDI")
    return figure
