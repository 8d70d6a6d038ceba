"""What a sweep says at its end: the settings, ranked by validation, what failed and was stopped, and the best one."""

from __future__ import annotations

from pathlib import Path

from pyro_vd._core.storage import as_json
from pyro_vd.workflow.comparison import differences
from pyro_vd.workflow.ranking import Choice, best_of, rank
from pyro_vd.workflow.ranking_table import best_tree, print_best, print_ranking, ranking_tree
from pyro_vd.workflow.shared_sweep import SharedSweep
from pyro_vd.workflow.tables import print_table


class SweepReport:
    """The results of a sweep that is done.

    Args:
        out: its folder.
        sweep: the runs.
        total: the number of runs.
        choice: how the best setting is chosen.
    """

    def __init__(self, out: Path, sweep: SharedSweep, total: int, choice: Choice) -> None:
        self._out = out
        self._total = total
        self._choice: Choice = choice
        self.failed: dict[str, str] = sweep.failed()
        """Why runs have failed, by name."""
        self._stopped = sweep.stopped()
        results = {setting.name: setting.results() for setting in sweep.settings()}
        self._notes = differences([result for each in results.values() for result in each])
        self._ranked = rank(results)
        self._best = best_of(self._ranked, choice) if self._ranked else None

    def print_json(self) -> None:
        """Print everything as one JSON object."""
        content = {
            "out": str(self._out),
            "settings": ranking_tree(self._ranked),
            "stopped": self._stopped,
            "failed": self.failed,
            "notes": self._notes,
            "best": self._best and best_tree(self._best, self._choice, self._out),
        }
        print(as_json(content))

    def print_tables(self) -> None:
        """Print tables, and the test numbers of the best setting at the end."""
        if self._ranked:
            print_ranking(f"{self._out}: settings, sorted by validation score", self._ranked, self._notes)
        if self._stopped:
            print_table(f"stopped, {len(self._stopped)}", ["setting"], [[name] for name in self._stopped], numbers=False)
        if self.failed:
            title = f"failed, {len(self.failed)} of {self._total}"
            print_table(title, ["run", "why"], list(self.failed.items()), numbers=False)
        if self._best:
            print_best(self._best, self._choice, self._out)
