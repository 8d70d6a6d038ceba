"""Settings are ranked by validation, never by test; which is the best, and which are on the front."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support import refuses

from pyro_vd.evaluation.score import ERROR, RMSE, Score
from pyro_vd.workflow.comparison import RunResult
from pyro_vd.workflow.ranking import best_of, interval_on_test, rank

RUN = RunResult(
    "run", "digits", 360, 0, Score(ERROR, 0.1), 1.0, 10.0, {}, 1.0, validation=Score(ERROR, 0.1), validation_se=0.02
)


def runs(scores: list[float], compression: float, test: float = 0.1) -> list[RunResult]:
    """Runs of several seeds."""
    return [
        replace(
            RUN, run=f"run {seed}", seed=seed, score=Score(ERROR, test), compression=compression, validation=Score(ERROR, each)
        )
        for seed, each in enumerate(scores)
    ]


SETTINGS = {
    "good on test": runs([0.30, 0.30], 20, test=0.01),
    "dense": runs([0.08, 0.12], 2),
    "sparse": runs([0.11, 0.11], 50),
    "equal, but denser": runs([0.10, 0.10], 1.5),
    "empty": runs([0.9, 0.9], math.inf),
}


def test_order() -> None:
    ranked = rank(SETTINGS)
    assert [each.name for each in ranked] == ["dense", "equal, but denser", "sparse", "good on test", "empty"]
    assert [each.name for each in ranked if each.front] == ["dense", "sparse", "empty"]
    assert (ranked[0].score.value, ranked[0].se) == (pytest.approx(0.10), pytest.approx(0.02)), "over seeds"
    (alone,) = rank({"alone": runs([0.1], 10)})
    assert alone.se == 0.02, "over validation examples"
    assert rank({"earlier": [replace(RUN, validation_se=None)]})[0].se is None
    mixed = [replace(RUN, compression=compression) for compression in (10.0, math.inf)]
    assert rank({"mixed": mixed})[0].compression == pytest.approx(20), "the mean of the weights kept"


def test_best() -> None:
    """The sparse choice takes what the validation data cannot tell from the best: within a standard error, here 0.02."""
    ranked = rank(SETTINGS)
    assert best_of(ranked).name == "dense"
    assert best_of(ranked, "sparse").name == "sparse"
    equal = {"lucky": runs([0.1, 0.1], 2), "sparse": runs([0.11, 0.13], 50), "sparser": runs([0.13, 0.12], 60)}
    assert (rank(equal)[0].se, rank(equal)[0].margin, best_of(rank(equal), "sparse").name) == (0, 0.02, "sparse"), (
        "over examples"
    )
    assert best_of(rank({name: SETTINGS[name] for name in ("dense", "good on test")}), "sparse").name == "dense"


def test_interval_of_test_scores() -> None:
    score, interval = interval_on_test(rank(SETTINGS)[0])
    assert (score, interval) == (Score(ERROR, 0.1), (pytest.approx(0.0731, abs=1e-4), pytest.approx(0.1354, abs=1e-4)))
    numbers = replace(RUN, score=Score(RMSE, 50.0), score_se=2.0, validation=Score(RMSE, 50.0))
    assert interval_on_test(rank({"numbers": [numbers]})[0]) == (
        Score(RMSE, 50.0),
        (pytest.approx(46.08), pytest.approx(53.92)),
    )
    assert interval_on_test(rank({"heads": [replace(numbers, score_se=None)]})[0])[1] is None


def test_without_validation_data() -> None:
    with refuses("data.validation", 0, "run 0"):
        rank({"none": [replace(RUN, run="run 0", validation=None)]})
