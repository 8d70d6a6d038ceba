"""Finished runs side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pyro_vd._core.errors import InputError
from pyro_vd._core.yaml_files import read_yaml
from pyro_vd.evaluation.deployed import DeployedSize
from pyro_vd.evaluation.score import Score, score_in
from pyro_vd.workflow.run_folder import RECIPE, read_metrics
from pyro_vd.workflow.tables import sparsity_by_site


@dataclass(frozen=True)
class RunResult:
    """What a run ended with: its pruned network on its test data."""

    run: str
    """Its name in tables and figures."""
    data: str
    """The data set's name."""
    test_size: int | None
    """Test examples; None where the run does not say."""
    seed: int
    score: Score
    """How wrong its predictions of the test data are."""
    nll: float
    """In nats per example."""
    compression: float
    """|W| / |W kept|; infinite where no weight is left."""
    sparsity: dict[str, float]
    """Share of removed weights, in [0, 1], by site; those without a prior are at the end, as one."""
    seconds: float
    """Time of all its trainings."""
    prior_share: float | None = None
    """Share of all parameters that has a prior, in [0, 1]; None in a run of an earlier version."""
    deployed: DeployedSize | None = None
    """Parameters and bytes of what would be deployed; None in a run of an earlier version."""


_DEPLOYED = [field.name for field in fields(DeployedSize)]

Sort = Literal["error", "nll", "compression", "seconds", "run"]
SORTS: dict[Sort, Callable[[RunResult], Any]] = {
    "error": lambda result: result.score.value,
    "nll": lambda result: result.nll,
    "compression": lambda result: -result.compression,
    "seconds": lambda result: result.seconds,
    "run": lambda result: result.run,
}
"""What runs can be sorted by, the best first."""


def read_results(folders: Sequence[Path], sort: Sort = "error", names: Sequence[str] | None = None) -> list[RunResult]:
    """The results of finished runs, sorted; runs that are equal in that keep their order.

    Args:
        folders: of the runs.
        sort: a key of :data:`SORTS`.
        names: what to call them, by default their folders.

    Raises:
        InputError: a folder that is no finished run, or the same twice.
    """
    seen: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"run (={str(folder)!r}) is not a folder")
        if (other := seen.setdefault(folder.resolve(), folder)) is not folder:
            raise InputError(
                f"run (={str(folder)!r}) is given twice" + (f", also as {str(other)!r}" if other != folder else "")
            )
    results = [_result(folder, name) for folder, name in zip(folders, names or map(str, folders), strict=True)]
    return sorted(results, key=SORTS[sort])


def _result(folder: Path, name: str) -> RunResult:
    metrics = read_metrics(folder)
    pruned = metrics["networks"]["pruned"]
    score = score_in(pruned)
    assert score is not None  # check_results has seen it
    return RunResult(
        run=name,
        data=metrics["data"],
        test_size=metrics.get("test_size"),
        seed=metrics["seed"],
        score=score,
        nll=_or_infinite(pruned["nll"]),
        compression=_or_infinite(pruned["compression"]),
        sparsity=sparsity_by_site(pruned["layers"]),
        seconds=sum(metrics["seconds"].values()),
        prior_share=pruned.get("prior_share"),
        deployed=DeployedSize(**{key: deployed[key] for key in _DEPLOYED}) if (deployed := pruned.get("deployed")) else None,
    )


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value  # JSON has no infinity


def same_but_seed(results: Sequence[RunResult], root: Path = Path()) -> list[list[RunResult]]:
    """Groups of several runs, named after their folders below ``root``, whose recipes differ in nothing but the seed."""
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        path = root / result.run / RECIPE
        recipe = _given(read_yaml(path) | {"seed": None}) if path.is_file() else path
        groups.setdefault(f"{recipe}, {result.data}, {result.test_size}", []).append(result)
    return [group for group in groups.values() if len({result.seed for result in group}) == len(group) > 1]


def _given(settings: Any) -> Any:
    """Settings without those that are null: a key that a later version has counts as null."""
    if not isinstance(settings, dict):
        return settings
    return {key: _given(value) for key, value in settings.items() if value is not None}


def differences(results: Sequence[RunResult]) -> list[str]:
    """What stands against comparing the errors of these runs, in words: other data sets, or other numbers of examples."""
    groups: dict[str, list[str]] = {}
    for result in results:
        size = "an unknown number of" if result.test_size is None else str(result.test_size)
        groups.setdefault(f"{result.data}, {size} test examples", []).append(result.run)
    if len(groups) < 2:
        return []
    listed = "; ".join(f"{data}: {', '.join(runs)}" for data, runs in groups.items())
    return [f"the errors do not compare, as the runs were measured on different data. {listed}"]
