"""Pictures of weights: large matrices are folded without losing the largest weights, and a first layer is shown as images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from support import refuses
from torch import Tensor, nn

from pyro_vd.plots.weights import COLOURS, MOST_COLUMNS, MOST_ROWS, NORM, first_layer_images, folded, shaded, weight_matrices

GREY = [0xB0, 0xB0, 0xB0, 255]


def test_large_matrices_are_folded() -> None:
    weight = torch.zeros(2 * MOST_ROWS - 1, 3, MOST_COLUMNS)
    weight[7, 1, 5], weight[6, 1, 5], weight[-1, -1, -1] = -0.5, 0.25, 0.125
    matrix = folded(weight)
    assert matrix.shape == (MOST_ROWS, MOST_COLUMNS)
    assert matrix[3, (MOST_COLUMNS + 5) // 3] == -0.5, "the largest of a block, with its sign"
    assert matrix[-1, -1] == 0.125
    assert torch.count_nonzero(matrix) == 2
    assert torch.equal(folded(weight[:20, 0]), weight[:20, 0])


def net_of(weight: Tensor) -> nn.Module:
    net = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        net.weight[:] = weight
    return net


def test_first_layer_images() -> None:
    weight = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    figure = first_layer_images(net_of(weight), (2, 3))
    axes = figure.axes[0]
    assert f"{100 / 7:.1f} % of 42 weights" in axes.get_title()
    for text in ("7 units", "2 × 3 inputs", "1 of them"):
        assert text in axes.get_xlabel()
    grid = np.asarray(axes.images[0].get_array())
    side = 10  # pixels per weight
    tile = 2 * side + 1, 3 * side + 1
    assert grid.shape == (3 * tile[0] + 1, 3 * tile[1] + 1, 4)
    for unit in range(9):
        top, left = 1 + unit // 3 * tile[0], 1 + unit % 3 * tile[1]
        inside = grid[top : top + 2 * side : side, left : left + 3 * side : side]
        expected = shaded(weight[unit].reshape(2, 3)) if unit < 7 else GREY
        assert (inside == expected).all()
    with refuses("image_shape", (3, 3), "(7, 6)"):
        first_layer_images(net_of(weight), (3, 3))


def test_colours() -> None:
    """Only zero is white; each sign has a hue, a larger weight is darker, and weights beyond 1 have the colour of 1."""
    sizes = [1e-20, 0.05, 0.15, 0.35, 0.55, 0.75, 0.95, 1.0, 5.0]
    assert COLOURS(NORM(0.0)) == (1, 1, 1, 1)
    assert shaded(torch.tensor([[0.0, math.nan]])).tolist() == [[[255] * 4, GREY]]
    for sign, strong, weak in ((1, 0, 2), (-1, 2, 0)):
        shades = [COLOURS(NORM(sign * size)) for size in sizes]
        assert all(shade[strong] > shade[weak] for shade in shades), "red for positive, blue for negative"
        brightness = [sum(shade[:3]) for shade in shades]
        assert brightness == sorted(brightness, reverse=True)
        assert brightness[0] < 2.9
        assert shades[-1] == shades[-2]


@pytest.mark.parametrize(
    "shapes", [[(5, 4)], [(30, 64), (10, 30)], [(300, 784), (100, 300), (10, 100)], [(20, 25), (999, 2000)]]
)
def test_every_weight_is_a_block_of_whole_pixels(shapes: list[tuple[int, int]]) -> None:
    weights = [torch.randn(shape) for shape in shapes]
    figure = weight_matrices(weights, ["a title"] * len(shapes), "heading")
    width, height = FigureCanvasAgg(figure).get_width_height()
    assert width % 2 == height % 2 == 0, "as films need it"
    assert width == 800
    taken: list[tuple[float, float, float, float]] = []
    for axes, weight in zip(figure.axes, weights, strict=False):
        box, matrix = axes.get_window_extent(), folded(weight)
        assert np.array_equal(np.asarray(axes.images[0].get_array()), shaded(matrix))
        for length, count in zip((box.height, box.width), matrix.shape, strict=True):
            assert length <= math.ceil(length - 1e-4), "older matplotlib stretches an image over every pixel that it touches"
            assert length / count == pytest.approx(max(1, round(length / count)), abs=1e-4)
        assert all(box.x0 >= right or box.x1 <= left or box.y0 >= top or box.y1 <= below for left, below, right, top in taken)
        taken.append((box.x0, box.y0, box.x1, box.y1))
        assert 0 < box.x0 < box.x1 < width
        assert 0 < box.y0 < box.y1 < height
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["−1", "0", "1"]
