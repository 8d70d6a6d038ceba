"""Figures show names as they are: a dollar sign begins no formula, what is no Unicode is replaced, and no name is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from pyro_vd import BayesianNetwork, VariationalDropout, to_inference_data
from pyro_vd._core.storage import save_figure
from pyro_vd.evaluation.score import Score
from pyro_vd.plots.posterior import input_relevance, kl_by_layer, largest_weights, log_alpha_histograms, weight_masks
from pyro_vd.plots.sizes import error_against_compression
from pyro_vd.plots.uncertainty import error_against_coverage, reliability

NAMES = ("cost in $ per $", "a_{$\\frac$", "\\$", "_no \udce9", "_$")
SHOWN = ("cost in $ per $", "a_{$\\frac$", "\\$", "_no ?", "_$")

LOG_ALPHA = {name: torch.linspace(-3, 5, 20).reshape(4, 5) for name in NAMES}
GUESSES = {name: (torch.tensor([[0.2, 0.8]] * 30), torch.ones(30, dtype=torch.int64)) for name in NAMES}


def forest() -> Figure:
    net = torch.nn.Sequential()
    for place, name in enumerate(NAMES[:3]):
        net.add_module(name, torch.nn.Linear(2, 2) if place else torch.nn.Linear(3, 2))
    guide = VariationalDropout(BayesianNetwork(net))
    return largest_weights(to_inference_data(guide, (torch.rand(5, 3), torch.arange(5) % 2), num_samples=4), most=1)


FIGURES: dict[str, Callable[[], Figure]] = {
    "error_against_compression": lambda: error_against_compression({name: [(2.0, Score("error", 0.5))] for name in NAMES}),
    "log_alpha_histograms": lambda: log_alpha_histograms(LOG_ALPHA, 3.0),
    "weight_masks": lambda: weight_masks({name: values < 3 for name, values in LOG_ALPHA.items()}),
    "input_relevance": lambda: input_relevance(torch.rand(3, 5), features=NAMES),
    "kl_by_layer": lambda: kl_by_layer(dict.fromkeys(NAMES, 1.0)),
    "reliability": lambda: reliability(GUESSES),
    "error_against_coverage": lambda: error_against_coverage({name: [torch.rand(100)] for name in NAMES}),
    "largest_weights": forest,
}


@pytest.mark.parametrize("name", FIGURES)
def test_names_are_shown_as_they_are(tmp_path: Path, name: str) -> None:
    figure = FIGURES[name]()
    save_figure(figure, tmp_path / "figure.png")
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    drawn = [Text._preprocess_math(text, text.get_text()) for text in texts]  # what matplotlib draws, and how
    assert not [text for text, how in drawn if how and "mathdefault" not in text], "no formula but the numbers of an axis"
    for shown in SHOWN[: 3 if name == "largest_weights" else 5]:
        assert any(shown in text for text, _ in drawn), shown
