"""What a sweep prints at its end: the settings, ranked, and the test numbers of the best one alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyro_vd.evaluation.score import Score
from pyro_vd.workflow.ranking import Choice, Ranked, interval_on_test
from pyro_vd.workflow.results_table import print_results
from pyro_vd.workflow.run_folder import RECIPE
from pyro_vd.workflow.tables import print_table, size_cells, with_error

_CHOSEN = {
    "score": "the best validation score",
    "sparse": "the fewest weights among those whose validation score cannot be told from the best",
}


def print_ranking(title: str, ranked: Sequence[Ranked], notes: Sequence[str]) -> None:
    """Print the settings of a sweep, one numbered row per setting, the best first.

    Args:
        title: printed above the table.
        ranked: as :func:`~pyro_vd.workflow.ranking.rank` gives them, at least one.
        notes: sentences to print below the table.
    """
    columns = ["", "setting", f"validation {ranked[0].score.label}", "runs", "compression", "front", "seconds"]
    rows = []
    for number, each in enumerate(ranked, 1):
        smaller = size_cells({"compression": each.compression})[0]
        seconds = f"{sum(run.seconds for run in each.runs):.0f}"
        score = with_error(each.score, each.se)
        rows.append([str(number), each.name, score, str(len(each.runs)), smaller, "*" if each.front else "", seconds])
    print_table(title, columns, rows, names=2)
    over = "the seeds of a setting" if len(ranked[0].runs) > 1 else "the validation examples"
    print(f"±: the standard error over {over}")
    print("compression: |W| / |W kept|, with the mean of |W kept| over the runs; *: no other setting is better in both columns")
    for note in notes:
        print(f"Note: {note}")


def print_best(best: Ranked, choice: Choice, out: Path) -> None:
    """Print which setting is the best, and its test numbers.

    Args:
        best: the setting.
        choice: how it was chosen.
        out: the folder of the sweep.
    """
    print(f"\nbest: {best.name}, which has {_CHOSEN[choice]}; again: {_again(best, out)}")
    runs = list(best.runs)
    print_results("the best setting on test data", runs, [], [runs] if len(runs) > 1 else [])
    score, interval = interval_on_test(best)
    if interval is not None:
        low, high = (Score(score.name, end).cell() for end in interval)
        print(f"test {score}; 95 % interval over test examples: {low} to {high}")


def _again(best: Ranked, out: Path) -> str:
    """The command that trains the first run of a setting again; its recipe holds every key."""
    return shlex.join(["pyro-vd", "train", str(out / best.runs[0].run / RECIPE), "--out", "DIR"])


def ranking_tree(ranked: Sequence[Ranked]) -> list[dict[str, Any]]:
    """The settings as plain content for JSON, without test numbers."""
    return [
        {
            "setting": each.name,
            "score": asdict(each.score),
            "se": each.se,
            "margin": each.margin,
            "compression": each.compression,
            "front": each.front,
            "seeds": [run.seed for run in each.runs],
            "runs": [run.run for run in each.runs],
        }
        for each in ranked
    ]


def best_tree(best: Ranked, choice: Choice, out: Path) -> dict[str, Any]:
    """The best setting as plain content for JSON, with its test numbers."""
    score, interval = interval_on_test(best)
    return {
        "setting": best.name,
        "chosen_by": choice,
        "again": _again(best, out),
        "test": {"score": asdict(score), "interval": interval},
        "runs": [asdict(run) for run in best.runs],
    }
