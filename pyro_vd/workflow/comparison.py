"""The results of several finished runs, for comparing them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
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
    validation: Score | None = None
    """How wrong its predictions of the validation data are; None in a run without them."""
    validation_se: float | None = None
    """The standard error of ``validation`` over examples, in its unit; None in a run without it, or of an earlier version."""
    validation_size: int | None = None
    """The number of validation examples; None in a run of an earlier version."""
    score_se: float | None = None
    """The standard error of ``score`` over examples; None where it is not measured, as for shares, see their interval."""


_DEPLOYED = [field.name for field in fields(DeployedSize)]

Sort = Literal["validation", "error", "nll", "compression", "seconds", "run"]
SORTS: dict[Sort, Callable[[RunResult], Any]] = {
    "validation": lambda result: math.inf if result.validation is None else result.validation.value,
    "error": lambda result: result.score.value,
    "nll": lambda result: result.nll,
    "compression": lambda result: -result.compression,
    "seconds": lambda result: result.seconds,
    "run": lambda result: result.run,
}
"""What runs can be sorted by, the best first."""


def read_results(folders: Sequence[Path], names: Sequence[str] | None = None) -> list[RunResult]:
    """The results of finished runs.

    Args:
        folders: the folders of the runs.
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
    return [_result(folder, name) for folder, name in zip(folders, names or map(str, folders), strict=True)]


def in_order(results: Sequence[RunResult], sort: Sort | None = None) -> tuple[Sort, list[RunResult]]:
    """What results are sorted by, and the sorted results. Runs that are equal in the sorting key keep their order.

    Args:
        results: of runs.
        sort: what to sort by; None for the validation score where every run has one, and otherwise the test error.
    """
    sort = sort or ("error" if any(result.validation is None for result in results) else "validation")
    return sort, sorted(results, key=SORTS[sort])


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
        validation=score_in(metrics, "validation_"),
        validation_se=metrics.get("validation_se"),
        validation_size=metrics.get("validation_size"),
        score_se=pruned.get("rmse_se"),
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


def configurations(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Group runs by their recipe without the seed, under a name of the group: what their folders' names begin with.

    Args:
        results: of runs, in the order of the groups.
    """
    group_of = {id(result): group for group in same_but_seed(results) for result in group}
    found: dict[str, list[RunResult]] = {}
    names = {result.run for result in results}
    for result in results:
        group = group_of.get(id(result), [result])
        columns = zip(*(each.run for each in group), strict=False)
        common = "".join(letters[0] for letters in takewhile(lambda letters: len({*letters}) == 1, columns))
        common = common.rstrip("-_.") if len(group) > 1 else common
        is_taken = common in names - {each.run for each in group} or found.get(common, group) != group
        found[group[0].run if is_taken or not common or common.endswith("/") else common] = group
    return found


def _given(settings: Any) -> Any:
    """Settings without those that are null: a key that only a later version has counts as null."""
    if not isinstance(settings, dict):
        return settings
    return {key: _given(value) for key, value in settings.items() if value is not None}


def differences(results: Sequence[RunResult]) -> list[str]:
    """Sentences that say why the scores of these runs cannot be compared: data sets or numbers of examples that differ."""
    test: dict[str, list[str]] = {}
    validation: dict[str, list[str]] = {}
    for result in results:
        size = "an unknown number of" if result.test_size is None else str(result.test_size)
        test.setdefault(f"{result.data}, {size} test examples", []).append(result.run)
        if result.validation is not None and result.validation_size is not None:
            validation.setdefault(f"{result.validation_size} validation examples", []).append(result.run)
    return [
        f"the {what} cannot be compared, because the runs were measured on different data. {_listed(groups)}"
        for what, groups in {"errors": test, "validation scores": validation}.items()
        if len(groups) > 1
    ]


def without_validation(results: Sequence[RunResult], sort: Sort) -> list[str]:
    """Sentences about the order of runs of which some have no validation score."""
    lacking = [result.run for result in results if result.validation is None]
    if not lacking or sort not in ("validation", "error"):
        return []
    listed = f"without a validation score: {', '.join(lacking)}"
    if sort == "validation":
        return [f"what has no validation score comes last. Runs {listed}"]
    return [
        f"sorted by the error on test data. Whichever of several runs is chosen by it, its test error is too low; train with "
        f"data.validation > 0 and choose by the validation score. Runs {listed}"
    ]


def _listed(groups: dict[str, list[str]]) -> str:
    return "; ".join(f"{data}: {', '.join(runs)}" for data, runs in groups.items())
