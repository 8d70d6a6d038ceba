"""In an interactive session a result says in a line what it is; no tensor and no long list fills the screen."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support import refuses
from torch import nn

from pyro_vd import CompressResult, Dataset, load_run
from pyro_vd._core.shown import Shown, Table
from pyro_vd.compaction import LayerUnits, SurvivingUnits
from pyro_vd.evaluation import Prediction
from pyro_vd.evaluation.classification import Metrics
from pyro_vd.evaluation.deployed import DeployedSize
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.heads import HeadsMetrics
from pyro_vd.evaluation.regression import RegressionMetrics
from pyro_vd.evaluation.standard_error import Losses
from pyro_vd.models import Categorical
from pyro_vd.networks.sizes import LayerSize
from pyro_vd.posterior.summary import LayerSummary
from pyro_vd.pruning.threshold_choice import CANDIDATES
from pyro_vd.pruning.thresholds import ThresholdChoice, ThresholdTrial
from pyro_vd.runtime.report import LayerTime, RuntimeReport
from pyro_vd.training import FitResult
from pyro_vd.workflow.compress_deploy import Footprint


def test_results_are_short() -> None:
    """Each a line, however large it is, with the numbers that one looks for."""
    log_p = torch.full((1000, 4), -math.log(4), dtype=torch.float64)
    record = EpochRecord("train", 1, 350.0, 300.0, 50.0, 1.0, 1e-3, 0.0125, 4.5, 0, 0.2)
    trials = tuple(ThresholdTrial(threshold, 0.02, 7.0 - threshold, 1234, 5678) for threshold in CANDIDATES)
    for result, parts in (
        (Prediction(log_p), ("log_p (1000, 4)", "entropy 1.386")),
        (Prediction(log_p, torch.full((1000,), 0.25)), ("entropy 1.386", "mutual information 0.25")),
        (ThresholdChoice(1.25, 0.0175, trials), ("49 trials", "pruning 0.0175", "threshold 1.25, error 0.02", "5,678")),
        (
            FitResult((record,) * 300, skipped=2, epoch=290),
            ("300 epochs", "2 steps skipped", "parameters of epoch 290", "loss 350", "error 1.25 %", "4.5x"),
        ),
        (FitResult((), skipped=0, epoch=0), ("0 epochs",)),
        (Dataset("mine", *(torch.ones(9, 8), torch.zeros(9)) * 2), ("'mine'", "x_train (9, 8)", "y_test (9,)")),
    ):
        shown = repr(result)
        assert len(shown) < 300
        assert "\n" not in shown
        for part in (type(result).__name__, *parts):
            assert part in shown


HOSTILE = "<script>alert('&')</script>"
LAYERS = (LayerSize("1.weight", 100, 20), LayerSize(HOSTILE, 10, 10))
CLASSES = Metrics(
    0.02, 0.1, None, 0.01, 0.02, 0.03, 0.2, None, 1.1, 0.9, 0.8, 5.0, 0.9, DeployedSize(30, 1234, 999, None), LAYERS
)
NUMBERS = RegressionMetrics(1234.5, 2.0, 3.0, 0.5, None, 99, math.inf, 0.9, None, ())
RECORD = EpochRecord(HOSTILE, 1, 350.0, 300.0, 50.0, 1.0, 1e-3, 0.0125, 4.5, 0, 0.2)


def losses(wrong: int) -> Losses:
    return Losses("error", torch.arange(100).lt(wrong).double(), torch.ones(100))


RESULTS: dict[str, tuple[Shown, int, dict[str, Any]]] = {
    "classes": (CLASSES, 1, {"error": 0.02, "bytes": 1234}),
    "numbers": (NUMBERS, 1, {"rmse": 1234.5, "coverage_90": None}),
    "heads": (HeadsMetrics(4.0, {HOSTILE: CLASSES, "b": NUMBERS}, 5.0, 0.9, None, LAYERS), 3, {"head": "all", "nll": 4.0}),
    "training": (FitResult((RECORD,) * 30, 2, 30), 30, {"loss": 350.0, "score": 0.0125}),
    "threshold": (
        ThresholdChoice(1.0, 0.02, (ThresholdTrial(1.0, 0.02, 7.0, 12, 34),)),
        1,
        {"threshold": 1.0, "sparse_bytes": 34},
    ),
    "units": (SurvivingUnits({HOSTILE: LayerUnits("Linear", (0, 2), (1,), 4, 3)}), 1, {"inputs": [0, 2], "all_units": 3}),
    "layers": (Table([LayerSummary("1.weight", 10, 4, (0.0, 1.0))]), 1, {"pruned": 4}),
    "runtime": (RuntimeReport((LayerTime("a", "Linear", 1, 2.0, None, "dense"),), (), {}, 1), 1, {"form": "dense"}),
    "compression": (
        CompressResult(
            *(
                nn.Linear(2, 1),
                "sparse",
                False,
                Footprint(300, 600, 1_200_000),
                Footprint(10, 20, 24_000),
                losses(5),
                losses(7),
            ),
            *("test data", {"masked": (2e-3, 1e-3)}, (), (HOSTILE,), (), Categorical(), torch.zeros(1, 2)),
            *[None] * 5,  # what only the report page shows
        ),
        2,
        {"network": "before", "error": 0.05, "parameters": 300, "seconds.masked": 2e-3},
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_tables_and_plain_values(name: str) -> None:
    result, rows, first = RESULTS[name]
    frame = result.to_frame()
    assert len(frame) == rows
    for column, value in first.items():
        found = frame[column].iloc[0]
        assert found == value or (value is None and pd.isna(found))
    plain = result.to_dict()
    assert json.loads(json.dumps(plain)) == plain or name == "numbers", "JSON holds it"
    shown = result._repr_html_()
    assert "<table" in shown
    assert "<script" not in shown
    assert escape(HOSTILE) in shown or HOSTILE not in str(vars(result) if vars(result) else result)
    parser = Tables()
    parser.feed(shown)
    assert parser.rows == 1 + min(rows, 20) + (name == "compression")
    assert len(set(parser.cells)) == 1, "as many cells in every row"
    assert parser.open == []


class Tables(HTMLParser):
    """The rows of a table and their cells; tags that are not closed stay in ``open``."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.cells, self.open = 0, [], []

    def handle_starttag(self, tag: str, _: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows += 1
            self.cells.append(0)
        elif tag in ("td", "th"):
            self.cells[-1] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_metrics_are_short() -> None:
    assert repr(CLASSES) == "Metrics(error 2.00 %, NLL 0.1, compression 5x, 30 parameters, 1.2 kB)"
    assert repr(NUMBERS) == "RegressionMetrics(RMSE 1234, NLL 3, no weight left)"
    shown = repr(RESULTS["compression"][0])
    assert shown == "CompressResult(target not met: error 5.00 % → 7.00; sparse file 1,200.0 kB → 24.0 kB, 50x smaller)"


def test_a_compression_that_is_clearly_worse_says_so() -> None:
    found = replace(RESULTS["compression"][0], losses_after=losses(50), met=True)
    assert "error 5.00 % → 50.00, clearly worse (p = 5.7e-14)" in repr(found)


def test_a_training_draws_itself() -> None:
    records = [replace(RECORD, epoch=epoch, score=0.5 / epoch, compression=float(epoch)) for epoch in range(1, 6)]
    loss, score, size = FitResult(tuple(records), 0, 5).plot().axes
    assert [line.get_ydata()[0] for line in loss.lines] == [350.0, 300.0, 50.0]
    assert list(score.lines[0].get_ydata()) == pytest.approx([50 / epoch for epoch in range(1, 6)])
    assert list(size.lines[0].get_ydata()) == [1, 2, 3, 4, 5]
    bare = [replace(record, score=None, compression=math.inf) for record in records]
    figure = FitResult(tuple(bare), 0, 5).plot()
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes[1:]] == [
        ["no validation data"],
        ["no weight left"],
    ]
    with refuses("history", 0):
        FitResult((), 0, 0).plot()


def test_a_run_shows_no_tensor(finished_run: Path) -> None:
    run = load_run(finished_run)
    for shown in (repr(run), repr(run.data), repr(run)):
        assert "tensor(" not in shown
    assert repr(run.data).startswith("Dataset('digits', x_train (1437, 64)")
