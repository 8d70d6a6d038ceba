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

DPI = 100
"""The resolution of the pictures, in pixels per inch."""
MOST_ROWS, MOST_COLUMNS = 400, 800
"""The largest numbers of rows and columns of a matrix in a picture."""

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


def weight_matrices(weights: Sequence[Tensor], titles: Sequence[str], heading: str = "") -> Figure:
    """Show weight matrices side by side, with one row per unit; each weight is a block of whole pixels at 100 dpi.

    Args:
        weights: the weights ``(units, …)``. One that is too large is folded, see :func:`folded`.
        titles: the title above each matrix.
        heading: the title above all matrices.
    """
    matrices = [folded(weight) for weight in weights]
    height = max(200, *(len(matrix) for matrix in matrices))
    about = max(180, 540 // len(matrices))
    widths = [matrix.shape[1] * max(1, about // matrix.shape[1]) for matrix in matrices]
    left, bottom, gap, top, bar = 40, 30, 50, 50, 12
    size = max(left + sum(widths) + gap * len(widths) + bar + 40, 680), bottom + height + top
    size = size[0] + size[0] % 2, size[1] + size[1] % 2  # films need even sizes
    figure = Figure(figsize=((size[0] + 1e-6) / DPI, (size[1] + 1e-6) / DPI), dpi=DPI)  # pixels are rounded down
    figure.text(left / size[0], 1 - 16 / size[1], heading, va="center", fontsize=11)

    def axes_at(x: int, width: int, rows: int) -> Axes:
        y = bottom + (height - rows) // 2
        # Slightly less than whole pixels, because older matplotlib would stretch the image over one more pixel.
        axes = figure.add_axes((x / size[0], y / size[1], (width - 1e-5) / size[0], (rows - 1e-5) / size[1]))
        axes.spines[:].set(position=("outward", 1), color="#B0B0B0")
        return axes

    for weight, matrix, width, title in zip(weights, matrices, widths, titles, strict=True):
        axes = axes_at(left, width, height // len(matrix) * len(matrix))
        axes.imshow(shaded(matrix), aspect="auto", interpolation="nearest")
        units, inputs = weight.flatten(1).shape
        axes.set(xticks=[], yticks=[], xlabel=f"{inputs} inputs", ylabel=f"{units} units")
        axes.set_title(title, fontsize=9, pad=4)
        left += width + gap
    _add_scale(figure, cax=axes_at(left - gap // 2, bar, height))
    return figure


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
    figure = Figure(figsize=(7, 0.7 + 6.2 * grid.shape[0] / grid.shape[1]), dpi=DPI, layout="constrained")
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
