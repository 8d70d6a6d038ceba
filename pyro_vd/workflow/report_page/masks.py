"""The masks of a network's weights at every threshold, packed for the page: one byte per cell of a picture."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOST_ROWS, MOST_COLUMNS = 320, 800
"""The largest picture of a mask; in a larger one, a cell stands for a block of weights."""
NO_CELL = 255
"""The level of a cell that is no weight, between the filters of a convolution."""


@dataclass(frozen=True)
class MaskPicture:
    """The picture of the masks of a site.

    Attributes:
        site: the weight.
        levels: ``(rows, columns)``, how many thresholds, the highest ones, keep the cell.
        cell: what a cell stands for, in words.
        weights: the number of weights.
    """

    site: str
    levels: Tensor
    cell: str
    weights: int


def mask_picture(site: str, levels: Tensor, axes: Sequence[str]) -> MaskPicture:
    """Arrange the levels of a weight as a picture: filters of a first convolution as tiles, any other weight as a matrix.

    Args:
        site: its name.
        levels: see :class:`~.threshold_curve.ThresholdCurve`.
        axes: the names of its dimensions, see :class:`~pyro_vd.networks.LayerKind`.
    """
    if levels.ndim == 4 and axes[:2] == ("out", "in") and levels.shape[1] <= 4 and min(levels.shape[2:]) > 1:
        filters, channels, *_ = levels.shape
        several = f", the largest of {channels} channels" if channels > 1 else ""
        return MaskPicture(
            site, _tiles(levels.amax(1)), f"one weight; each of {filters} filters is a tile{several}", levels.numel()
        )
    rows = levels.movedim(axes.index("out"), 0) if "out" in axes else levels
    matrix = rows.reshape(len(rows), -1) if levels.ndim > 1 else levels[None]
    turned = matrix.shape[0] > 2 * matrix.shape[1]
    matrix = matrix.T if turned else matrix
    shown = _pooled(matrix)
    sizes = [math.ceil(whole / part) for whole, part in zip(matrix.shape, (MOST_ROWS, MOST_COLUMNS), strict=True)]
    block = "one weight" if sizes == [1, 1] else f"a block of {sizes[0]} × {sizes[1]} weights, filled if one of them is left"
    sides = ("columns", "rows") if turned else ("rows", "columns")
    return MaskPicture(site, shown, f"{block}; {sides[0]} are units, {sides[1]} are what they read", levels.numel())


def _tiles(filters: Tensor) -> Tensor:
    """Filters ``(n, height, width)`` side by side, with a line of no weight between them."""
    across = math.ceil(math.sqrt(2 * len(filters)))
    down = math.ceil(len(filters) / across)
    framed = F.pad(filters, (0, 1, 0, 1, 0, down * across - len(filters)), value=NO_CELL)
    grid = framed.unflatten(0, (down, across)).transpose(1, 2).flatten(2).flatten(0, 1)
    return grid[:-1, :-1]


def _pooled(matrix: Tensor) -> Tensor:
    """A matrix of at most :data:`MOST_ROWS` rows and :data:`MOST_COLUMNS` columns, of the largest levels in blocks."""
    for dim, most in ((0, MOST_ROWS), (1, MOST_COLUMNS)):
        factor = math.ceil(matrix.shape[dim] / most)
        missing = -matrix.shape[dim] % factor
        padded = F.pad(matrix, (0, missing * dim, 0, missing * (1 - dim)))
        matrix = padded.unflatten(dim, (-1, factor)).amax(dim + 1)
    return matrix


def counts_by_input(levels: Tensor, axes: Sequence[str], steps: int) -> Tensor:
    """Return how many weights of each input every threshold keeps, ``(steps, inputs)``.

    Args:
        levels: of the first weight.
        axes: the names of its dimensions.
        steps: the number of thresholds.
    """
    by_input = levels.movedim(axes.index("in"), 0).flatten(1)
    return torch.stack([(by_input >= steps - step).sum(1) for step in range(steps)])


def packed(values: Tensor) -> str:
    """Return whole numbers as text for the page's program: bytes, or pairs of bytes where one is above 255, compressed."""
    largest = int(values.max()) if values.numel() else 0
    numbers = values.long().clamp(max=2**16 - 1).numpy().astype(np.uint8 if largest < 2**8 else "<u2")
    return packed_bytes(numbers.tobytes())


def packed_bytes(content: bytes) -> str:
    """Return bytes as text for the page's program, compressed."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
