"""Every experiment in its quick form: its table, and what its figures show."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from support import refused, run_cli

from pyro_vd.experiments import NAMES, load_experiment
from pyro_vd.experiments.setting import Outcome, Setting
from pyro_vd.plots.experiments import bands, learning_curves, losses, sparsity_pictures
from pyro_vd.plots.sizes import tradeoff


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {}


def carried_out(name: str, outcomes: dict[str, Outcome]) -> Outcome:
    if name not in outcomes:
        outcomes[name] = load_experiment(name).run(Setting(name, quick=True, progress=False))
    return outcomes[name]


def lines(outcome: Outcome, figure: str, panel: int = 0) -> dict[str, Any]:
    """The labelled curves of a panel."""
    axes = outcome.figures[figure].axes[panel]
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    return {str(line.get_label()): line for line in axes.lines if not str(line.get_label()).startswith("_")}


def test_dropout_rates(outcomes: dict[str, Outcome]) -> None:
    outcome = carried_out("report-dropout-rates", outcomes)
    curves = lines(outcome, "dropout-rates")
    assert set(curves) == {"Bernoulli, on units", "Gaussian, on units", "Gaussian, on weights", "variational, no rate"}
    plain = [float(curve.get_ydata()[0]) for label, curve in curves.items() if "rate" not in label]
    assert len(set(plain)) == 1  # at p = 0 there is no noise, whatever its kind
    assert plain[0] > 0.85
    for label, curve in curves.items():
        if "rate" not in label:
            accuracies = curve.get_ydata()
            assert accuracies[-1] < accuracies[0] - 0.05  # nine tenths of a small layer dropped
            assert [f"{100 * value:.2f}" for value in accuracies] == [
                cell.split(" ± ")[0] for cell in next(row for row in outcome.rows if row[0] == label)[1:]
            ]


@pytest.mark.parametrize("name", ["report-mlp2", "report-mlp3"])
def test_report_networks(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = carried_out(name, outcomes)
    curves = lines(outcome, "elbo")
    total, kl, data_term = (curves[label].get_ydata() for label in ("negative ELBO", "KL(q‖p)", "data term, −Σ log p(y|x, w)"))
    assert [a + b for a, b in zip(kl, data_term, strict=True)] == pytest.approx(list(total))
    assert total[-1] < total[0]
    rows = {row[0]: row for row in outcome.rows}
    assert float(rows["plain"][2]) > 0.98
    assert float(rows["variational, pruned"][2]) > 0.95
    assert float(rows["variational, pruned"][3]) > 3
    panels = outcome.figures["sparsity"].axes
    titles = [axes.get_title().split(": ")[1].split() for axes in panels if axes.get_label() != "<colorbar>"]
    assert [title[0] for title in titles] == ["0.0"] * len(titles), "% before training"
    assert [title[5] for title in titles] == rows["variational, pruned"][-1].split(), "% after pruning"


def test_tradeoff(outcomes: dict[str, Outcome]) -> None:
    outcome = carried_out("report-tradeoff", outcomes)
    curves = [label for label in lines(outcome, "tradeoff") if not label.startswith("_")]
    assert len(curves) == 2
    by_threshold = outcome.series["by_threshold"]
    assert [c for _, c, _ in by_threshold] == sorted((c for _, c, _ in by_threshold), reverse=True)  # lower prunes more
    by_weight = outcome.series["by_kl_weight"]
    assert by_weight[0][1] < by_weight[-1][1]  # a heavier KL prunes more
    (at_3,) = (point for point in by_threshold if point[0] == 3.0)
    (at_1,) = (point for point in by_weight if point[0] == 1.0)
    assert at_3[1:] == at_1[1:]  # the two curves meet in the one network they share
    histograms = outcome.figures["log-alpha"].axes
    assert len(histograms) == 3
    assert all(line.get_xdata()[0] == 3.0 for axes in histograms for line in axes.lines)


@pytest.mark.slow
@pytest.mark.long
def test_overfitting(outcomes: dict[str, Outcome]) -> None:
    outcome = carried_out("report-overfitting", outcomes)
    rows = {(row[0], row[1]): row[2:] for row in outcome.rows}
    for label in ("plain", "Bernoulli 0.5"):
        assert float(rows["200 images, random labels", label][0]) <= 1.0  # memorised
        assert float(rows["200 images", label][1]) - float(rows["200 images", label][0]) > 3  # the gap of overfitting
    train_error, _, smaller, _ = rows["200 images, random labels", "variational"]
    assert float(train_error) > 75
    assert float(smaller.rstrip("x")) > 100
    train_error, _, smaller, _ = rows["200 images, random labels", "variational, no warm-up"]
    assert float(train_error) > 80
    assert smaller == "no weight left"
    assert len(outcome.figures["overfitting"].axes) == 2
    assert len(lines(outcome, "overfitting")) == 10
    memory = lines(outcome, "random-labels")
    assert memory["plain"].get_ydata()[-1] >= 99
    assert memory["variational"].get_ydata()[-1] < 25


@pytest.mark.slow
@pytest.mark.long
def test_stability(outcomes: dict[str, Outcome]) -> None:
    outcome = carried_out("report-stability", outcomes)
    rows = {row[0]: row[1:] for row in outcome.rows}
    assert rows["pyro_vd"][0] == "none"
    for label in ("the report's", "the report's, data term weighted right"):
        assert 100 < int(rows[label][0]) < 3000
        assert "not finite" in rows[label][1]
    curves = lines(outcome, "stability")
    assert max(curves["pyro_vd"].get_xdata()) == 3000
    assert max(curves["the report's"].get_xdata()) < int(rows["the report's"][0])
    crosses = [line for line in outcome.figures["stability"].axes[0].lines if line.get_marker() == "X"]
    assert sorted(int(line.get_xdata()[0]) for line in crosses) == sorted(
        int(rows[label][0]) for label in rows if label != "pyro_vd"
    )


def test_command_writes_the_table_the_numbers_and_the_figures(tmp_path: Path) -> None:
    code, out, err = run_cli("experiment", "report-mlp3", "--quick", "--quiet", "--json", "--out", tmp_path / "x")
    assert (code, err) == (0, "")
    printed = json.loads(out)
    written = json.loads((tmp_path / "x" / "results.json").read_text())
    assert printed["rows"] == written["rows"]
    assert len(written["series"]["history"]) == 40
    table = (tmp_path / "x" / "table.md").read_text().splitlines()
    assert [line.strip("| ").split(" | ") for line in table[2:]] == written["rows"]
    for name in ("elbo", "sparsity"):
        assert matplotlib.image.imread(tmp_path / "x" / f"{name}.png").std() > 0.05
    before = (tmp_path / "x" / "table.md").read_bytes()
    refused(
        "experiment",
        "report-mlp3",
        "--quick",
        "--out",
        tmp_path / "x",
        quoted=[f"output folder (='{tmp_path / 'x'}')", "--out"],
    )
    assert (tmp_path / "x" / "table.md").read_bytes() == before


def test_bad_input(tmp_path: Path) -> None:
    refused("experiment", "report-mlp4", quoted=["'report-mlp4'", *NAMES])
    refused("experiment", "report-mlp2", "--data-dir", tmp_path / "none", "--out", tmp_path / "x", quoted=["none"])
    assert not (tmp_path / "x").exists()


def test_every_experiment_says_how_long_it_takes() -> None:
    for name in NAMES:
        minutes = [int(word) for word in load_experiment(name).HELP.split() if word.isdigit()]
        assert minutes
        assert minutes[-1] <= 60


def test_pictures_of_unusual_values() -> None:
    infinite = [(1.0, 2.0, 3.0), (2.0, math.inf, 90.0)]
    assert len(tradeoff(infinite, infinite, {}, ["1 kB", "0 kB"], 3.0).axes[0].lines[0].get_xdata()) == 1
    assert len(losses({"a": ([], 1)}).axes[0].lines) == 1  # died at once: no cross without a loss to put it on
    band = bands({"a": ([0.0, 1.0], [[1.0, 3.0], [2.0, 2.0]])}, ("b", [2.0]), ("x", "y"), "t").axes[0]
    assert list(band.lines[0].get_ydata()) == [2.0, 2.0]
    assert learning_curves({"a": {"n": [(0.5, 0.25)]}}, {"a": 10}).axes[0].lines[1].get_ydata()[0] == 25
    import torch

    weights = {"w": torch.tensor([[1.0, 0.0], [-1.0, 2.0]])}
    picture = sparsity_pictures(weights, weights).axes[0]
    assert picture.images[0].get_array().tolist() == [[1, 0], [1, 1]]
