"""The settings of a sweep, ranked by their validation scores over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.score import Score
from pyro_vd.evaluation.standard_error import share_interval
from pyro_vd.workflow.comparison import RunResult

Choice = Literal["score", "sparse"]
"""How the best setting is chosen: see :func:`best_of`."""


@dataclass(frozen=True)
class Ranked:
    """A setting of a sweep with the mean of its runs, one per seed."""

    name: str
    """Its keys and values."""
    runs: tuple[RunResult, ...]
    score: Score
    """The mean validation score."""
    se: float | None
    """The standard error of ``score``: over seeds; of a single run over its validation examples. None if it is not known."""
    compression: float
    """The number of weights divided by the mean number of weights kept; infinite where none is kept."""
    margin: float
    """How much worse a score may be that cannot be told from this one: the larger of its standard errors over seeds and over
    validation examples. Two seeds may have equal scores by chance, and all are measured on the same examples."""
    front: bool = False
    """Whether no other setting is at least as good in both, score and compression, and better in one."""


def rank(settings: Mapping[str, Sequence[RunResult]]) -> list[Ranked]:
    """The settings from the best validation score to the worst; of equal ones, the one with fewer weights comes first.

    Args:
        settings: the results of at least one finished run per setting, by the setting's name.

    Raises:
        InputError: a run has no validation score.
    """
    ranked = [_ranked(name, tuple(results)) for name, results in settings.items()]
    found = [replace(each, front=not any(_dominates(other, each) for other in ranked)) for each in ranked]
    return sorted(found, key=lambda each: (each.score.value, -each.compression))


def best_of(ranked: Sequence[Ranked], choice: Choice = "score") -> Ranked:
    """The best of ranked settings.

    Args:
        ranked: as :func:`rank` gives them, at least one.
        choice: ``"score"`` for the best validation score; ``"sparse"`` for the fewest weights among the settings whose score is
            at most one standard error of the best one worse, see :attr:`Ranked.margin`: which of those is the better one cannot
            be told from the scores.
    """
    first = ranked[0]
    if choice == "score":
        return first
    near = [each for each in ranked if each.score.value <= first.score.value + first.margin]
    return max(near, key=lambda each: each.compression)


def interval_on_test(ranked: Ranked) -> tuple[Score, tuple[float, float] | None]:
    """The mean test score of a setting's runs, and its interval of 95 % over test examples; None where it is not known.

    All runs are measured on the same test examples. The interval is therefore no narrower than that of one run.
    """
    score = Score(ranked.runs[0].score.name, statistics.mean(run.score.value for run in ranked.runs))
    size = ranked.runs[0].test_size
    if score.is_share and size:
        return score, share_interval(score.value, size)
    errors = [run.score_se for run in ranked.runs if run.score_se is not None]
    if not errors:
        return score, None
    half = 1.96 * statistics.mean(errors)
    return score, (score.value - half, score.value + half)


def _ranked(name: str, results: tuple[RunResult, ...]) -> Ranked:
    scores: list[Score] = []
    for result in results:
        if result.validation is None:
            raise InputError(
                f"{result.run} has no validation score, by which settings are ranked: its data.validation is 0",
                name="data.validation",
                value=0,
                allowed="at least 1",
            )
        scores.append(result.validation)
    values = [score.value for score in scores]
    several = len(values) > 1
    examples = [result.validation_se for result in results if result.validation_se is not None]
    se = statistics.stdev(values) / math.sqrt(len(values)) if several else results[0].validation_se
    margin = max(se or 0.0, statistics.mean(examples) if examples else 0.0)
    kept = statistics.mean(1 / result.compression for result in results)
    mean = Score(scores[0].name, statistics.mean(values))
    return Ranked(name, results, mean, se, 1 / kept if kept else math.inf, margin)


def _dominates(one: Ranked, other: Ranked) -> bool:
    better = (one.score.value < other.score.value, one.compression > other.compression)
    worse = (one.score.value > other.score.value, one.compression < other.compression)
    return any(better) and not any(worse)
