"""Pictures of weights in signed colours from −1 to 1, one function each, which returns a matplotlib Figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap
from torch import Tensor, nn

from pyro_vd.networks.layers import named_weights
from pyro_vd.plots.drawing import check_image_shape
from pyro_vd.plots.figure import Figure
from pyro_vd.plots.style import styled

PIXELS = 100
"""The resolution in which the matrices are drawn, in pixels per inch."""
WIDTH = 800
"""The width of a picture of matrices, in pixels."""
MOST_ROWS, MOST_COLUMNS = 400, 784
"""The largest numbers of rows and columns of a matrix in a picture."""
_SPACE, _GAP, _TITLE, _TOP, _SCALE = 8, 16, 24, 62, 40  # pixels: margins, between matrices, titles, the heading, the colours
_HALF = (MOST_COLUMNS - _GAP) // 2

# Only zero is white: every weight that is left has a colour, even the smallest.
_LEVELS, _ZERO = 10, 1e-30
_EDGES = [_ZERO, *(k / _LEVELS for k in range(1, _LEVELS + 1))]
_BLUES, _REDS = (
    LinearSegmentedColormap.from_list("", colours)(np.linspace(0, 1, _LEVELS))
    for colours in (("#BFDDF0", "#0072B2", "#00263D"), ("#FFDFC2", "#D55E00", "#471F00"))
)
SHADES = np.vstack([_BLUES[::-1], np.ones((1, 4)), _REDS])
"""The colours, ``(21, 4)`` as RGBA in [0, 1], from −1 to 1."""
COLOURS = ListedColormap(SHADES).with_extremes(bad="#B0B0B0")
"""Blue for negative and vermilion for positive weights, which colour-blind people can tell apart; white for zero, and grey
where there is no weight."""
NORM = BoundaryNorm([-edge for edge in reversed(_EDGES)] + _EDGES, len(SHADES), clip=True)
"""The map from weights to colours, 10 per sign; weights beyond ±1 have the colours of ±1."""


@styled()
def weight_matrices(weights: Sequence[Tensor], titles: Sequence[str], heading: str = "") -> Figure:
    """Show weight matrices, with one row per unit, in a picture 800 pixels wide; each weight is a block of whole pixels.

    The matrices stand side by side where they fit.

    Args:
        weights: the weights ``(units, …)``. One that is too large is folded, see :func:`folded`.
        titles: the title above each matrix.
        heading: the title above all matrices.
    """
    matrices = [folded(weight) for weight in weights]
    places, height = _places(matrices, _TOP if heading else _SPACE)
    height += _SCALE
    height += height % 2  # films need even sizes
    figure = Figure(figsize=((WIDTH + 1e-6) / PIXELS, (height + 1e-6) / PIXELS), dpi=PIXELS)  # pixels are rounded down
    if heading:
        figure.text(_SPACE / WIDTH, 1 - 10 / height, heading, va="top", fontsize=14, linespacing=1.35)

    def axes_at(x: int, y: int, wide: int, high: int) -> Axes:
        # Slightly less than whole pixels, because older matplotlib would stretch the image over one more pixel.
        box = (x / WIDTH, (height - y - high) / height, (wide - 1e-5) / WIDTH, (high - 1e-5) / height)
        axes = figure.add_axes(box)
        axes.spines[:].set(visible=True, position=("outward", 1), color="#B0B0B0")
        return axes

    for matrix, place, title in zip(matrices, places, titles, strict=True):
        axes = axes_at(*place)
        axes.imshow(shaded(matrix), aspect="auto", interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=10.5, pad=5, x=0, ha="left")
    scale = axes_at(2 * _SPACE, height - _SCALE + 8, 240, 10)
    _add_scale(figure, cax=scale, orientation="horizontal")
    return figure


def _places(matrices: Sequence[Tensor], top: int) -> tuple[list[tuple[int, int, int, int]], int]:
    """Return left, top, width and height of each matrix in pixels, from the upper edge, and where the last row ends."""
    places: list[tuple[int, int, int, int]] = []
    x, y, row = _SPACE, top, 0
    for rows, columns in (matrix.shape for matrix in matrices):
        most = MOST_COLUMNS if columns > _HALF else _HALF
        wide, high = columns * (most // columns), rows * max(1, min(most // columns, 120 // rows))
        if x + wide > WIDTH - _SPACE and row:
            x, y, row = _SPACE, y + row + _GAP, 0
        places.append((x, y + _TITLE, wide, high))
        x, row = x + max(wide, _HALF) + _GAP, max(row, high + _TITLE)
    return places, y + row + _GAP


@styled()
def first_layer_images(net: nn.Module, image_shape: tuple[int, int]) -> Figure:
    """Show the weights of each unit of the first layer as an image, all in one grid, row by row.

    Args:
        net: a network whose first layer reads an image.
        image_shape: height and width of the image, in pixels.

    Raises:
        InputError: the first layer does not have one input per pixel.
    """
    weight = next(weight for _, weight in named_weights(net)).detach().cpu()
    rows, columns = check_image_shape(image_shape, weight)
    units = len(weight)
    across = math.ceil(math.sqrt(units))
    down = math.ceil(units / across)
    enlarged = math.ceil(28 / max(rows, columns))  # so that the lines between small images are thin
    images = weight.reshape(units, rows, columns).repeat_interleave(enlarged, 1).repeat_interleave(enlarged, 2)
    tiles = F.pad(images, (1, 0, 1, 0, 0, down * across - units), value=torch.nan)
    grid = tiles.unflatten(0, (down, across)).transpose(1, 2).flatten(2).flatten(0, 1)
    grid = F.pad(grid, (0, 1, 0, 1), value=torch.nan)
    figure = Figure(figsize=(7, 0.7 + 6.2 * grid.shape[0] / grid.shape[1]), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shaded(grid), interpolation="nearest")
    axes.spines[:].set_visible(False)
    blank = int((weight == 0).all(1).sum())
    axes.set_title(
        f"first layer, pruned: {100 * (weight == 0).float().mean().item():.1f} % of {weight.numel():,} weights removed"
    )
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"{units} units, one image of {rows} × {columns} inputs per unit; {blank} of them have no weight left")
    _add_scale(figure, ax=axes, aspect=35, shrink=0.9)
    return figure


def _add_scale(figure: Figure, **where: Any) -> None:
    bar = figure.colorbar(ScalarMappable(NORM, COLOURS), spacing="proportional", ticks=[-1, 0, 1], **where)
    bar.ax.minorticks_off()
    if "cax" in where:
        bar.ax.tick_params(labelsize=9, length=0, pad=2)
        bar.ax.text(1.04, 0.5, "weight; white: removed", transform=bar.ax.transAxes, va="center", fontsize=10)
    else:
        bar.set_label("weight", labelpad=-2)


def shaded(matrix: Tensor) -> np.ndarray:
    """Return the colours of weights ``(rows, columns)`` as RGBA in uint8, ``(rows, columns, 4)``; NaN, for no weight, is grey.

    Matplotlib is given colours instead of weights, because older versions round the numbers of an image before they look up the
    colours, so that zero can get the colour of a weight.
    """
    return np.asarray(COLOURS(NORM(np.ma.masked_invalid(matrix.numpy())), bytes=True))


def folded(weight: Tensor) -> Tensor:
    """Return a weight ``(units, …)`` as a matrix of at most :data:`MOST_ROWS` rows and :data:`MOST_COLUMNS` columns.

    Where there are more, each entry is the weight with the largest absolute value in a block.
    """
    matrix = weight.detach().cpu().flatten(1)
    for dim, most in ((0, MOST_ROWS), (1, MOST_COLUMNS)):
        factor = math.ceil(matrix.shape[dim] / most)
        missing = -matrix.shape[dim] % factor
        padded = F.pad(matrix, (0, missing * dim, 0, missing * (1 - dim)))
        blocks = padded.unflatten(dim, (-1, factor))
        matrix = blocks.gather(dim + 1, blocks.abs().argmax(dim + 1, keepdim=True)).squeeze(dim + 1)
    return matrix
