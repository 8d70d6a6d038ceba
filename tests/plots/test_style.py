"""The look of figures: the same under every style of matplotlib, labels that do not overlap, and numbers that can be read."""

from __future__ import annotations

import io
import math
from itertools import pairwise

import matplotlib
import matplotlib.style
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image
from strategies import examples

from pyro_vd.evaluation.score import Score
from pyro_vd.plots.figure import Figure
from pyro_vd.plots.labels import Label, apart, label_ends
from pyro_vd.plots.posterior import log_alpha_histograms
from pyro_vd.plots.sizes import Deployed, before_and_after, error_against_compression
from pyro_vd.plots.style import COLOURS, DPI, INK, MUTED, PAPER, counts, darker, ratios, signed, styled


def contrast(colour: object, other: str = PAPER) -> float:
    """The contrast of two colours by the web's guidelines, from 1 to 21."""

    def luminance(rgb: tuple[float, float, float]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    light, dark = sorted((luminance(to_rgb(each)) for each in (colour, other)), reverse=True)  # type: ignore[arg-type]
    return (light + 0.05) / (dark + 0.05)


def pixels(figure: Figure) -> np.ndarray:
    figure.savefig(buffer := io.BytesIO(), format="png")
    return np.asarray(Image.open(buffer))


def histograms() -> Figure:
    return log_alpha_histograms({"1.weight": torch.linspace(-5, 20, 900)}, 3.0)


def test_text_can_be_read() -> None:
    assert all(contrast(colour) > 4.5 for colour in (INK, MUTED, *map(darker, COLOURS)))


def test_figures_are_the_same_whatever_matplotlib_is_set_to() -> None:
    wanted = pixels(histograms())
    before = dict(matplotlib.rcParams)
    with matplotlib.style.context("dark_background"), matplotlib.rc_context({"font.size": 20, "savefig.dpi": 50}):
        figure = histograms()
        assert np.array_equal(pixels(figure), wanted)
    assert dict(matplotlib.rcParams) == before
    assert np.array_equal(pixels(figure), wanted)
    assert wanted.shape[:2] == tuple(round(DPI * inches) for inches in figure.get_size_inches()[::-1])
    assert (wanted[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all(), "a background of its own, on a dark page too"


@examples(60)
@given(places=st.lists(st.floats(0, 1), min_size=1, max_size=12), gap=st.floats(0.001, 0.2))
def test_labels_move_as_little_as_is_needed(places: list[float], gap: float) -> None:
    places = sorted(places)
    found = apart(places, gap)
    assert (np.diff(found) >= gap * 0.999).all()
    if (np.diff(places) >= gap).all():
        assert found == pytest.approx(places)
    assert np.mean(found) == pytest.approx(np.mean(places))


def test_labels_stand_beside_the_ends_of_their_curves() -> None:
    with styled():
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        ends = {"high": 9.0, "one": 1.0, "close to one": 1.01}
        for value in ends.values():
            axes.plot([0, 1], [0, value])
        label_ends(axes, [Label(1, value, name, COLOURS[0]) for name, value in ends.items()])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}
    assert list(boxes) == ["one", "close to one", "high"]
    assert boxes["one"].y1 <= boxes["close to one"].y0 <= boxes["close to one"].y1 < boxes["high"].y0
    assert all(axes.get_window_extent().x1 < box.x0 < box.x1 <= figure.bbox.x1 for box in boxes.values()), "inside the picture"


def test_numbers_of_axes() -> None:
    with styled():
        figure = Figure()
        left, right = figure.subplots(1, 2)
        left.plot([0, 2.5e6], [0, 2])
        right.loglog([1, 3e5], [0.1, 20])
        counts(left.xaxis), counts(left.yaxis), ratios(right.xaxis), ratios(right.yaxis)
    figure.draw_without_rendering()
    texts = [[tick.get_text() for tick in axis.get_ticklabels()] for axes in (left, right) for axis in (axes.xaxis, axes.yaxis)]
    assert "1,000,000" in texts[0]
    assert {"0", "1", "2"} <= {*texts[1]}
    assert not [text for text in texts[1] if "." in text]
    assert "100,000" in texts[2]
    assert {"0.3", "1", "10"} <= {*texts[3]}
    assert signed(-0.5) == "−0.5"


def test_before_and_after() -> None:
    """What is drawn are the given numbers: sizes, errors with their intervals, and the masks."""
    interval = {0.03: (0.02, 0.045), 0.02: (0.01, 0.035)}
    before, after = (
        [Deployed(size + seed, Score("error", error), interval[error]) for seed in range(3)]
        for size, error in ((1_000_000, 0.03), (20_000, 0.02))
    )
    masks = {"1.weight": torch.rand(7, 9) < 0.5, "2.weight": torch.rand(3, 7) < 0.5}
    figure = before_and_after(before, after, masks)
    axes, *panels = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts[:2] == ["before\nerror 3.00 %\n1,000.0 kB", "after\nerror 2.00 %\n20.0 kB\n50 times smaller"]
    bars = [part.lines[2][0].get_segments()[0] for part in axes.containers]
    assert [bar[:, 1].tolist() for bar in bars] == [pytest.approx([2, 4.5])] * 3 + [pytest.approx([1, 3.5])] * 3
    assert bars[1][0, 0] == pytest.approx(1000.001)
    assert math.sqrt(bars[0][0, 0] * bars[2][0, 0]) == pytest.approx(1000, rel=1e-3), "seeds stand beside the middle one"
    for panel, (name, mask) in zip(panels, masks.items(), strict=True):
        assert panel.get_title() == f"{name}: {int(mask.sum())} of {mask.numel()} weights left"
        assert np.array_equal(np.asarray(panel.images[0].get_array()), mask.float())
        assert panel.images[0].get_interpolation() == "nearest"


def test_before_and_after_of_long_names_and_an_error_that_falls() -> None:
    """Titles lie in the picture, and no label on the arrow."""
    before, after = (
        [Deployed(size, Score("error", error), (error - 0.005, error + 0.005))]
        for size, error in ((24_000_000, 0.19), (64_000, 0.14))
    )
    names = ["embedding.weight", "layers.0.attention.projection.weight_of_queries_and_keys", "head.weight"]
    figure = before_and_after(before, after, dict.fromkeys(names, torch.rand(1_000, 6_000) < 0.5))
    figure.draw_without_rendering()
    axes, *panels = figure.axes
    for panel in panels:
        box = panel.title.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    start, *_, end = axes.transData.transform([(24_000, 19), (64, 14)])
    for text in axes.texts[:2]:
        box = Text.get_window_extent(text)
        middle = start[1] + (end[1] - start[1]) * (np.array([box.x0, box.x1]) - start[0]) / (end[0] - start[0])
        assert (box.y0 > middle).all() or (box.y1 < middle).all()


def test_many_configurations_have_labels_that_do_not_overlap() -> None:
    figure = error_against_compression({f"run {place}": [(2.0 + place, Score("error", 0.02))] for place in range(12)})
    FigureCanvasAgg(figure).draw()
    boxes = sorted((Text.get_window_extent(text) for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
