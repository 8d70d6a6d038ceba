"""The results of several finished runs, for comparing them."""

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
    """The result of a run: its pruned network, measured on its test data."""

    run: str
    """Its name in tables and figures."""
    data: str
    """The data set's name."""
    test_size: int | None
    """The number of test examples; None where the run does not record it."""
    seed: int
    score: Score
    """How wrong its predictions of the test data are."""
    nll: float
    """In nats per example."""
    compression: float
    """The number of weights divided by the number of weights kept; infinite where none is kept."""
    sparsity: dict[str, float]
    """The share of removed weights, in [0, 1], by weight site; the last entry is for all weights without a prior."""
    seconds: float
    """The time that all phases of its training took."""
    prior_share: float | None = None
    """The share of all parameters that have a prior, in [0, 1]; None in a run of an earlier version."""
    deployed: DeployedSize | None = None
    """The size of the network that would be deployed; None in a run of an earlier version."""


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
    """The results of finished runs, sorted. Runs that are equal in the sorting key keep their order.

    Args:
        folders: the folders of the runs.
        sort: what to sort by.
        names: the names of the runs in tables and figures, by default their folders.

    Raises:
        InputError: a folder does not hold a finished run, or is given twice.
    """
    seen: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(name="run", value=str(folder), allowed="the folder of a run")
        if (other := seen.setdefault(folder.resolve(), folder)) is not folder:
            raise InputError(
                f"run (={str(folder)!r}) is given twice" + (f", also as {str(other)!r}" if other != folder else ""),
                name="run",
                value=str(folder),
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
    """Group the runs whose recipes differ only in the seed; groups of one run are left out.

    Args:
        results: of runs that are named after their folders below ``root``.
        root: where the folders are.
    """
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        path = root / result.run / RECIPE
        recipe = _given(read_yaml(path) | {"seed": None}) if path.is_file() else path
        groups.setdefault(f"{recipe}, {result.data}, {result.test_size}", []).append(result)
    return [group for group in groups.values() if len({result.seed for result in group}) == len(group) > 1]


def _given(settings: Any) -> Any:
    """Settings without those that are null: a key that only a later version has counts as null."""
    if not isinstance(settings, dict):
        return settings
    return {key: _given(value) for key, value in settings.items() if value is not None}


def differences(results: Sequence[RunResult]) -> list[str]:
    """Sentences that say why the errors of these runs cannot be compared: data sets or numbers of examples that differ."""
    groups: dict[str, list[str]] = {}
    for result in results:
        size = "an unknown number of" if result.test_size is None else str(result.test_size)
        groups.setdefault(f"{result.data}, {size} test examples", []).append(result.run)
    if len(groups) < 2:
        return []
    listed = "; ".join(f"{data}: {', '.join(runs)}" for data, runs in groups.items())
    return [f"the errors cannot be compared, because the runs were measured on different data. {listed}"]
