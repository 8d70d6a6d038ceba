"""What several pictures draw: bands of curves, masks, and grids of panels; and the images that inputs may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.image import AxesImage
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.plots.figure import Figure
from pyro_vd.plots.labels import plain
from pyro_vd.plots.style import LEFT, counts

_COLUMNS = 3
_CELLS = (120, 200)  # rows and columns of a mask's picture, at most


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


def draw_mask(axes: Axes, mask: Tensor) -> AxesImage | None:
    """Draw which weights of a layer are left, with one row per unit, and one column per input and kernel position.

    The picture of a large layer has cells of several weights each, coloured by the share of weights that are left. No cell is
    interpolated between its neighbours.

    Args:
        axes: where to draw.
        mask: ``(units, …)``, True for a weight that is left.

    Returns:
        The image if its cells are shares, for a colour bar; None where each cell is one weight.
    """
    matrix = mask.flatten(1).float().cpu()  # (out, in·kernel); of a transposed convolution (in, out·kernel)
    size = tuple(math.ceil(number / most) for number, most in zip(matrix.shape, _CELLS, strict=True))
    cells = F.avg_pool2d(matrix[None], size, ceil_mode=True)[0]
    norm = PowerNorm(0.5, vmin=0, vmax=cells.max().item() or 1.0)  # so that one weight in a cell is visible
    extent = (-0.5, cells.shape[1] * size[1] - 0.5, cells.shape[0] * size[0] - 0.5, -0.5)
    image = axes.imshow(cells.numpy(), cmap=LEFT, norm=norm, aspect="auto", interpolation="nearest", extent=extent)
    across = "input" if mask.ndim < 3 else "input and kernel position"
    axes.set(xlabel=across, ylabel="unit", xlim=(-0.5, matrix.shape[1] - 0.5), ylim=(matrix.shape[0] - 0.5, -0.5))
    axes.spines[:].set_visible(True)
    for axis in (axes.xaxis, axes.yaxis):
        counts(axis)
    return image if math.prod(size) > 1 else None


def panels(names: Mapping[str, Any], size: tuple[float, float], alone: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel per name, and the axes.

    Args:
        names: what has a panel.
        size: width and height of each, in inches.
        alone: width and height of a single one.
    """
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    width, height = alone if len(names) == 1 else size
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axis in axes[len(names) :]:
        axis.remove()
    return figure, axes[: len(names)]


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
