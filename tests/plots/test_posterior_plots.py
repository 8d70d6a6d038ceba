"""Pictures of a posterior: their axes, and their data against the given data."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from posterior_support import known_data, known_pair
from support import python, refuses

from pyro_vd import VariationalDropout, log_alpha, to_inference_data
from pyro_vd.distributions import MultiplicativeNormal
from pyro_vd.models import MLP
from pyro_vd.plots.posterior import (
    SHOWN,
    input_relevance,
    kl_by_layer,
    largest_weights,
    log_alpha_histograms,
    mean_against_deviation,
    weight_masks,
)
from pyro_vd.plots.style import DPI
from pyro_vd.posterior.arviz_files import to_tree
from pyro_vd.pruning import threshold_masks

VALUES = {
    "1.weight": torch.tensor([[-3.0, 1.999, 2.0], [5.0, math.inf, -50.0]]),
    "3.weight": torch.tensor([[0.0, 300.0]]),
    "5.weight": torch.full((2, 2), -1.0),
    "7.weight": torch.full((1, 1), math.inf),
}


def panels(figure: Figure) -> list[Any]:
    """Return the axes without colour bars."""
    figure.canvas.draw()  # raises where something cannot be drawn
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def images(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in panels(figure)]


def test_log_alpha_histograms() -> None:
    """Every weight is counted once, on its side of the threshold, also the weights outside of the axis."""
    found = panels(log_alpha_histograms(VALUES, 2.0))
    assert len(found) == 4
    for axes, (name, values) in zip(found, VALUES.items(), strict=True):
        share = 100 * (values >= 2).float().mean().item()
        assert axes.get_title() == f"{name}: {share:.1f} % removed"
        (line,) = axes.lines
        assert list(line.get_xdata()) == [2.0, 2.0]
        for bars, part in zip(axes.containers, (values < 2, values >= 2), strict=True):
            counts = {bar.get_x(): bar.get_height() for bar in bars if bar.get_height()}
            assert sum(counts.values()) == int(part.sum())
            assert all((x < 2) == bool((values < 2)[part].all()) for x in counts)
        low, high = axes.get_xlim()
        assert low < SHOWN[0] < SHOWN[1] < high
    assert [label.get_text() for label in found[0].get_xticklabels()][:: len(found[0].get_xticks()) - 1] == ["≤−12", "≥16"]


def test_weight_masks_are_shown_as_they_are() -> None:
    masks = {"1.weight": torch.rand(7, 9) < 0.3, "2.weight": torch.rand(4, 2, 3, 3) < 0.5, "3.weight": torch.zeros(2, 2) > 1}
    for image, mask in zip(images(weight_masks(masks)), masks.values(), strict=True):
        assert np.array_equal(image, mask.flatten(1).float())


def test_large_masks_are_shown_in_cells() -> None:
    mask = torch.rand(301, 784) < 0.01
    figure = weight_masks({"1.weight": mask})
    (image,) = images(figure)
    assert image.shape == (101, 196)
    assert image[5, 7] == pytest.approx(mask[15:18, 28:32].float().mean().item())
    assert image[100, 0] == pytest.approx(mask[300:, :4].float().mean().item()), "the last cell is smaller"
    (axes,) = panels(figure)
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 783.5), (300.5, -0.5))


def test_input_relevance() -> None:
    weight = torch.randn(5, 12) * (torch.rand(5, 12) < 0.5)
    count, norm = (weight != 0).sum(0), weight.square().sum(0).sqrt()
    for shape, expected in (((3, 4), (3, 4)), (None, (1, 12))):
        shown = images(input_relevance(weight, shape))
        assert np.array_equal(shown[0], count.reshape(expected))
        assert np.allclose(shown[1], norm.reshape(expected))
    channels = images(input_relevance(weight, (2, 3)))
    assert np.array_equal(channels[0], count.reshape(2, 2, 3).sum(0)), "channels are summed"
    assert np.allclose(channels[1], norm.square().reshape(2, 2, 3).sum(0).sqrt())
    with refuses("image_shape", (5, 2), "(5, 12)"):
        input_relevance(weight, (5, 2))


def test_input_relevance_by_name() -> None:
    weight = torch.randn(5, 40) * (torch.rand(5, 40) < 0.3)
    count, norm = (weight != 0).sum(0).tolist(), weight.norm(dim=0)
    (axes,) = panels(input_relevance(weight, features=[f"f{index}" for index in range(40)]))
    order = norm.argsort(descending=True, stable=True)[:30].tolist()
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"f{index}" for index in order], "the 30 largest"
    assert np.allclose([bar.get_width() for bar in axes.patches], norm[order])
    assert [text.get_text() for text in axes.texts] == [f"{count[index]} weight{'s' * (count[index] != 1)}" for index in order]
    with refuses("features", ["a"], "(5, 40)"):
        input_relevance(weight, features=["a"])


def test_kl_by_layer() -> None:
    (axes,) = panels(kl_by_layer({"1.weight": 30.0, "shift": 10.0}))
    assert [bar.get_width() for bar in axes.patches] == [30.0, 10.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1.weight", "shift"]
    assert [text.get_text() for text in axes.texts] == ["30.0 nats, 75.0 %", "10.0 nats, 25.0 %"]
    assert axes.yaxis_inverted(), "the first layer is on top"
    assert panels(kl_by_layer({"1.weight": 0.0}))


def test_mean_against_deviation() -> None:
    """All weights are counted, also zeros, and the weights above the line are the removed ones."""
    theta, log_sigma2 = torch.randn(200, 3).exp() * 0.1, torch.randn(200, 3) * 2 - 2
    theta[0] = 0
    log_sigma2[1] = -1e30
    q = MultiplicativeNormal(theta, log_sigma2, validate_args=False)
    (axes,) = panels(mean_against_deviation({"1.weight": q}, 2.0))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    counts = np.ma.filled(axes.collections[0].get_array(), 0).reshape(60, 60)
    assert counts.sum() == 600
    (line,) = axes.lines
    x, y = line.get_data()
    assert np.allclose(2 * np.log(y) - 2 * np.log(x), 2.0)
    corners = axes.collections[0].get_coordinates()
    above = corners[:-1, :-1, 1] > corners[1:, 1:, 0] * math.e  # the whole cell lies above the line
    below = corners[1:, 1:, 1] < corners[:-1, :-1, 0] * math.e
    removed = int((q.log_alpha >= 2).sum())
    assert counts[above].sum() <= removed <= 600 - counts[below].sum()
    assert counts[above].sum() > 0.8 * removed


@pytest.mark.parametrize("theta", [0.0, 1.0])
def test_pictures_of_a_layer_that_is_all_the_same(theta: float) -> None:
    q = MultiplicativeNormal(torch.full((2, 3), theta), torch.full((2, 3), -1e30), validate_args=False)
    assert panels(mean_against_deviation({"1.weight": q}, 3.0))


def test_largest_weights() -> None:
    """The intervals hold the mean, and are as wide as 50 and 94 % of a normal distribution; a line is at zero."""
    _model, guide = known_pair()
    data = to_inference_data(guide, known_data(), num_samples=2000, weights=8)
    figure = largest_weights(data, most=5)
    (axes,) = panels(figure)
    assert list(axes.lines[0].get_xdata()) == [0, 0]
    places = [tick.get_text() for tick in axes.get_yticklabels()]
    labels = []
    for name in guide.site_names:
        q = guide.posterior(name)
        for label in to_tree(data)["posterior"][name.replace("weight", "entry")].values[:5]:
            row, column = map(int, label.split(", "))
            mean, sd = q.mean[row, column].item(), q.variance[row, column].sqrt().item()
            labels.append(f"{name}[{label}]")
            own = [line.get_xydata() for line in axes.lines[1:] if line.get_ydata()[0] == places.index(labels[-1])]
            outer, inner, median = sorted(own, key=lambda points: np.ptp(points[:, 0]), reverse=True)
            assert np.ptp(outer[:, 0]) == pytest.approx(2 * 1.88 * sd, rel=0.15)
            assert np.ptp(inner[:, 0]) == pytest.approx(2 * 0.674 * sd, rel=0.15)
            assert median[0, 0] == pytest.approx(mean, abs=5 * 1.25 * sd / 2000**0.5)
    assert places == labels
    assert axes.yaxis_inverted(), "the first is on top"


def test_the_strongest_of_a_small_layer_come_first() -> None:
    """A layer of few weights is in the data whole, in its own order."""
    model = MLP((2, 3))
    guide = VariationalDropout(model, log_sigma2=-4.0)
    with torch.no_grad():
        guide.site("1.weight").theta.copy_(torch.tensor([[0.0, 2.0], [0.1, 0.0], [4.0, -1.0]]))
    figure = largest_weights(to_inference_data(guide, (torch.randn(5, 2), torch.arange(5) % 3)), most=3)
    panels(figure)
    texts = [text.get_text() for axes in figure.axes for text in (*axes.get_yticklabels(), *axes.texts)]
    assert sorted(text for text in texts if "weight" in text) == ["1.weight[0, 1]", "1.weight[2, 0]", "1.weight[2, 1]"]


def test_histograms_show_what_is_removed_by_more_than_the_threshold() -> None:
    masks = {name: torch.zeros_like(values, dtype=torch.bool) for name, values in VALUES.items()}
    masks["1.weight"][0, 0] = True
    titles = [axes.get_title() for axes in panels(log_alpha_histograms(VALUES, 2.0, masks))]
    assert titles[:2] == ["1.weight: 83.3 % removed", "3.weight: 100.0 % removed"]


@pytest.mark.slow
def test_no_global_state() -> None:
    code = """
import torch, matplotlib
matplotlib.use("Agg")
from pyro_vd import VariationalDropout, log_alpha, to_inference_data
from pyro_vd.models import MLP
from pyro_vd.plots.posterior import largest_weights, log_alpha_histograms
model = MLP((4, 3)); guide = VariationalDropout(model)
log_alpha_histograms(log_alpha(guide), 3.0)
figure = largest_weights(to_inference_data(guide, (torch.rand(9, 4), torch.arange(9) % 3), num_samples=9))
figure.savefig("/dev/null", format="png")
import matplotlib.pyplot as plt
print(plt.get_fignums())
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_masks_and_histograms_agree() -> None:
    _, guide = known_pair()
    masks = threshold_masks(log_alpha(guide), 1.0)
    for axes, bars in zip(panels(weight_masks(masks)), panels(log_alpha_histograms(log_alpha(guide), 1.0)), strict=True):
        left = sum(bar.get_height() for bar in bars.containers[0])
        assert axes.get_title().split(": ")[1].startswith(f"{int(left)} of")


def test_notebooks_show_a_figure() -> None:
    from IPython.core.formatters import PNGFormatter

    figure = log_alpha_histograms({"0.weight": torch.linspace(-5, 10, 50)}, 3.0)
    shown, size = PNGFormatter()(figure)
    width, height = Image.open(io.BytesIO(shown)).size
    assert (width, height) == tuple(round(DPI * inches) for inches in figure.get_size_inches())
    assert size == {"width": round(width * 96 / DPI), "height": round(height * 96 / DPI)}, "sharp, and not larger"
