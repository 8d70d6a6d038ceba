"""Pictures of log α and of errors, one function each, which returns a matplotlib Figure without global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.score import Score
from pyro_vd.networks.layers import named_weights
from pyro_vd.plots.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""The colours of curves, by Okabe and Ito, which colour-blind people can tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P")
"""The markers of curves."""
SHOWN = (-12.0, 16.0)
"""The range of log α that is shown; values outside of it are counted at its ends."""


def plain(text: str) -> str:
    """Return text, such as the name of a folder, as a label that matplotlib shows as it is: ``$`` begins no formula.

    A legend leaves out labels that begin with ``_``: before it stands a space without width.
    What is no Unicode, as in names of files in other encodings, is replaced.
    """
    shown = text.encode("utf-8", "replace").decode().replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def draw_band(axes: Axes, x: Sequence[float], values: Sequence[Sequence[float]], label: str, **style: Any) -> None:
    """Draw a curve with several values per point: their mean as a line, their range as a band.

    Args:
        axes: where to draw.
        x: the points.
        values: the values at each point.
        label: the label of the line.
        style: further arguments of ``Axes.plot``.
    """
    (line,) = axes.plot(x, [sum(v) / len(v) for v in values], label=plain(label), **style)
    axes.fill_between(x, [min(v) for v in values], [max(v) for v in values], color=line.get_color(), alpha=0.2, linewidth=0)


def image_shape(shape: Sequence[int]) -> tuple[int, int] | None:
    """Return height and width of the image that an input of this shape holds; None where it does not hold an image.

    An input with one dimension holds an image if the number of its values is a square.
    """
    if len(shape) > 1:
        return shape[-2], shape[-1]
    side = math.isqrt(shape[0])
    return (side, side) if side * side == shape[0] else None


def check_image_shape(image_shape: tuple[int, int] | None, weight: Tensor, channels: bool = False) -> tuple[int, int]:
    """Return height and width of the image that a first layer reads.

    Args:
        image_shape: height and width in pixels; None stands for one row of all inputs.
        weight: the weight of the first layer.
        channels: whether the inputs may be several channels of the image.

    Raises:
        InputError: ``weight`` is not a matrix ``(units, inputs)``, or its inputs are not the pixels of such an image.
    """
    height, width = image_shape or (1, weight.shape[-1])
    if weight.ndim != 2 or (weight.shape[1] % (height * width) if channels else weight.shape[1] != height * width):
        allowed = f"the height and width of the inputs of the first layer, whose weight has the shape {tuple(weight.shape)}"
        raise InputError(name="image_shape", value=image_shape, allowed=allowed)
    return height, width


def pruning_overview(
    log_alphas: Mapping[str, Tensor], net: nn.Module, threshold: float, image_shape: tuple[int, int]
) -> Figure:
    """Show log α of every weight with the threshold, and the number of weights that read each input pixel.

    Args:
        log_alphas: log α by site, as :func:`~pyro_vd.log_alpha` returns it.
        net: the pruned network; its first layer reads an image.
        threshold: the threshold on log α.
        image_shape: height and width of the image, in pixels.

    Raises:
        InputError: the first layer does not have one input per pixel.
    """
    first = next(weight for _, weight in named_weights(net))
    check_image_shape(image_shape, first)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    draw_log_alpha(left, log_alphas, threshold)
    left.set_title("log α of every weight; weights right of the line are removed")
    counts = (first != 0).sum(0).reshape(image_shape)
    image = right.imshow(counts.tolist(), cmap="cividis")
    right.set(title="weights left per pixel", xlabel="pixel column", ylabel="pixel row")
    figure.colorbar(image, ax=right, label="weights")
    return figure


def draw_log_alpha(axes: Axes, log_alphas: Mapping[str, Tensor], threshold: float) -> None:
    """Draw one histogram of log α per layer, and the threshold; values outside of :data:`SHOWN` are counted at its ends."""
    bins = torch.linspace(*SHOWN, 71).tolist()
    for (name, values), colour in zip(log_alphas.items(), cycle(COLOURS)):
        share = 100 * (values >= threshold).float().mean().item()
        label = f"{plain(name)}, {' × '.join(map(str, values.shape))}: {share:.1f} % above"
        axes.hist(values.clamp(*SHOWN).flatten().tolist(), bins, histtype="step", linewidth=1.5, color=colour, label=label)
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    axes.set(xlabel="log α", ylabel="weights", yscale="log")
    axes.legend(fontsize="small")


def error_against_compression(networks: Mapping[str, tuple[float, Score]]) -> Figure:
    """Show test error against compression, with one numbered point per network; the best are at the bottom right.

    Args:
        networks: compression and score, by name. A network without a weight has an infinite compression, and is shown as a
            triangle at the right edge.
    """
    label_y = ", ".join(dict.fromkeys(f"test {score.label.replace(' %', ', %')}" for _, score in networks.values()))
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    finite = [compression for compression, _ in networks.values() if math.isfinite(compression)]
    edge = 2 * max(finite, default=1.0)
    if edge > 8 * min(finite, default=1.0):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for number, ((name, (compression, score)), colour) in enumerate(zip(networks.items(), cycle(COLOURS)), 1):
        is_finite = math.isfinite(compression)
        point = (compression if is_finite else edge, score.shown)
        label = f"{number}  {plain(name)}" + ("" if is_finite else " (no weight left)")
        axes.plot(*point, "o" if is_finite else ">", color=colour, markersize=7, label=label)
        axes.annotate(str(number), point, xytext=(5, 4), textcoords="offset points")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="compression, |W| / |W kept|", ylabel=label_y, title="test error against compression")
    axes.margins(0.12)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    return figure
