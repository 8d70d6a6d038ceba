"""In an interactive session a result says in a line what it is; no tensor and no long list fills the screen."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from pyro_vd import Dataset, load_run
from pyro_vd.evaluation import Prediction
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.pruning.threshold_choice import CANDIDATES
from pyro_vd.pruning.thresholds import ThresholdChoice, ThresholdTrial
from pyro_vd.training import FitResult


def test_results_are_short() -> None:
    """Each a line, however large it is, with the numbers that one looks for."""
    log_p = torch.full((1000, 4), -math.log(4), dtype=torch.float64)
    record = EpochRecord("train", 1, 350.0, 300.0, 50.0, 1.0, 1e-3, 0.0125, 4.5, 0, 0.2)
    trials = tuple(ThresholdTrial(threshold, 0.02, 7.0 - threshold, 1234, 5678) for threshold in CANDIDATES)
    for result, parts in (
        (Prediction(log_p), ("log_p (1000, 4)", "entropy 1.386")),
        (Prediction(log_p, torch.full((1000,), 0.25)), ("entropy 1.386", "mutual information 0.25")),
        (ThresholdChoice(1.25, 0.0175, trials), ("49 trials", "0.0175", str(ThresholdTrial(1.25, 0.02, 5.75, 1234, 5678)))),
        (FitResult((record,) * 300, skipped=2, epoch=290), ("300 epochs", "skipped=2", "epoch=290", str(record))),
        (FitResult((), skipped=0, epoch=0), ("0 epochs",)),
        (Dataset("mine", *(torch.ones(9, 8), torch.zeros(9)) * 2), ("'mine'", "x_train (9, 8)", "y_test (9,)")),
    ):
        shown = repr(result)
        assert len(shown) < 300
        assert "\n" not in shown
        for part in (type(result).__name__, *parts):
            assert part in shown


def test_a_run_shows_no_tensor(finished_run: Path) -> None:
    run = load_run(finished_run)
    for shown in (repr(run), repr(run.data), repr(run)):
        assert "tensor(" not in shown
    assert repr(run.data).startswith("Dataset('digits', x_train (1437, 64)")
