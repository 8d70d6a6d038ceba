"""What every figure draws stays as it is: digests of the numbers, colours and texts in it, in ``drawn_data.json``.

A change on purpose is looked at as a picture first; then ``PYRO_VD_DRAWN=write`` writes the file anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyro_vd.distributions import MultiplicativeNormal
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.score import Score
from pyro_vd.evaluation.uncertainty import risk_coverage
from pyro_vd.plots import experiments, posterior, sizes, training, uncertainty, weights

FILE = Path(__file__).with_name("drawn_data.json")


def wave(*shape: int, step: float = 0.7) -> Tensor:
    """Numbers from −1 to 1 without a random generator, whose numbers might change."""
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float64).mul(step).sin().reshape(shape)


def guesses(sharpness: float) -> tuple[Tensor, Tensor]:
    return (sharpness * wave(600, 3)).softmax(-1), wave(600, step=1.3).mul(1.5).round().long().clamp(0, 2)


def network() -> nn.Module:
    net = nn.Linear(12, 7)
    with torch.no_grad():
        net.weight.copy_(wave(7, 12) * (wave(7, 12, step=1.9) > 0))
    return net


LOG_ALPHA = {"1.weight": 15 * wave(30, 40), "3.weight": 9 * wave(10, 30, step=0.3) + 2}
MASKS = {name: values < 1 for name, values in LOG_ALPHA.items()} | {"4.weight": wave(130, 4, 3, 3) > 0.5}
HISTORY = [
    EpochRecord("train", epoch, 500 / epoch, 300 / epoch, 200 / epoch, 1, 1e-3, 0.3 / epoch, 1.5**epoch, 0, 1)
    for epoch in range(1, 9)
]
LEARNT = {name: [(0.4 / epoch, 0.5 / epoch + 0.01 * place) for epoch in range(1, 9)] for place, name in enumerate("abc")}


def deployed(size: int, error: float) -> list[sizes.Deployed]:
    return [sizes.Deployed(size + seed, Score("error", error), (0.9 * error, 1.2 * error)) for seed in range(3)]


FIGURES: dict[str, Callable[[], Figure]] = {
    "bands": lambda: experiments.bands({"a": ([0, 1], [[1, 2], [2, 3]])}, ("level", [1.5, 1.7]), ("x", "y"), "t"),
    "before_and_after": lambda: sizes.before_and_after(deployed(900_000, 0.03), deployed(9_000, 0.02), MASKS),
    "elbo_terms": lambda: experiments.elbo_terms([100, 200, 300], [900.0, 500.0, 400.0], [90.0, 80.0, 70.0]),
    "error_against_compression": lambda: sizes.error_against_compression(
        {"a": [(4.0, Score("error", 0.02)), (5.0, Score("error", 0.03))], "b": [(90.0, Score("error", 0.04))]}
    ),
    "error_against_coverage": lambda: uncertainty.error_against_coverage(
        {name: [risk_coverage(*guesses(k)), risk_coverage(*guesses(k + 1))] for name, k in (("a", 1.0), ("b", 4.0))}
    ),
    "first_layer_images": lambda: weights.first_layer_images(network(), (3, 4)),
    "input_relevance": lambda: posterior.input_relevance(network().get_parameter("weight"), (3, 4)),
    "input_relevance, named": lambda: posterior.input_relevance(
        network().get_parameter("weight"), features=[f"f{place}" for place in range(12)]
    ),
    "kl_by_layer": lambda: posterior.kl_by_layer({"1.weight": 12_345.6, "3.weight": 1_000.0}),
    "learning_curves": lambda: experiments.learning_curves({"all": LEARNT, "few": LEARNT}, {"all": 1, "few": 10}),
    "log_alpha_histograms": lambda: posterior.log_alpha_histograms(LOG_ALPHA, -0.7),
    "losses": lambda: experiments.losses({"a": ([(1, 10.0), (10, 5.0)], None), "b": ([(1, 9.0), (2, 20.0)], 3)}),
    "mean_against_deviation": lambda: posterior.mean_against_deviation(
        {"1.weight": MultiplicativeNormal(wave(20, 30) + 0.01, 3 * wave(20, 30, step=0.3) - 4)}, 3.0
    ),
    "memorisation": lambda: experiments.memorisation(LEARNT, 5),
    "reliability": lambda: uncertainty.reliability({"a": guesses(1.0), "b": guesses(4.0)}),
    "sparsity_pictures": lambda: experiments.sparsity_pictures(LOG_ALPHA, {n: v * (v < 1) for n, v in LOG_ALPHA.items()}),
    "tradeoff": lambda: sizes.tradeoff(
        [(1.0, 40.0, 3.0), (3.0, 20.0, 2.0)],
        [(0.1, 5.0, 1.5), (1.0, 20.0, 2.0)],
        {"Han (2015)": (12.0, 1.6)},
        ["9 kB", "4 kB"],
        3,
    ),
    "training_curves": lambda: training.training_curves(HISTORY),
    "weight_masks": lambda: posterior.weight_masks(MASKS),
    "weight_matrices": lambda: weights.weight_matrices([wave(30, 64), wave(10, 30)], ["a", "b"], "heading"),
}


def numbers(values: Any) -> list[str]:
    return [f"{value:.5g}" for value in np.ma.filled(np.ma.asarray(values, dtype=float), np.nan).ravel().tolist()]


def drawn(axes: Axes) -> list[Any]:
    """The content of axes: the numbers, colours and texts."""
    content: list[Any] = [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale(), axes.get_yscale()]
    content += [[text.get_text(), to_hex(text.get_color())] for text in axes.texts]
    for line in axes.lines:
        content.append(
            [to_hex(line.get_color()), str(line.get_linestyle()), str(line.get_marker()), *numbers(line.get_xydata())]
        )
    for patch in axes.patches:
        corners = patch.get_path().transformed(patch.get_patch_transform()).vertices
        content.append([to_hex(patch.get_facecolor()), *numbers(corners)])
    content += [["image", image.get_interpolation(), *numbers(image.get_array())] for image in axes.images]
    for part in axes.collections:
        for path in part.get_paths()[:50]:
            content.append(numbers(path.vertices))
        if part.get_array() is not None:
            content.append(numbers(part.get_array()))
    return content


def digest(figure: Figure) -> str:
    figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.texts]
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    panels = [drawn(axes) for axes in figure.axes if axes.get_label() != "<colorbar>"]
    return hashlib.sha256(json.dumps([texts, legends, panels]).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_what_they_did(name: str) -> None:
    wanted = json.loads(FILE.read_text())
    found = digest(FIGURES[name]())
    if os.environ.get("PYRO_VD_DRAWN") == "write":
        FILE.write_text(json.dumps({**wanted, name: found}, indent=1, sort_keys=True) + "\n")
    else:
        assert found == wanted[name], "look at the picture; if it is right, run again with PYRO_VD_DRAWN=write"


def test_every_figure_function_has_a_digest() -> None:
    modules = (experiments, posterior, sizes, training, uncertainty, weights)
    functions = {name for part in modules for name, f in vars(part).items() if getattr(f, "__module__", "") == part.__name__}
    functions = {name for name in functions if not name.startswith("_") and name.islower()}
    helpers = {"folded", "shaded", "largest_weights"}  # largest_weights has random draws, and tests of its own
    assert functions - helpers == {name.partition(",")[0] for name in FIGURES}
