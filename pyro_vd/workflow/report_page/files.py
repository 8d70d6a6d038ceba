"""The page of runs as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyro_vd._core.arguments import check_file
from pyro_vd._core.errors import InputError
from pyro_vd._core.storage import write_atomically
from pyro_vd.workflow.comparison import differences, in_order, read_results, without_validation
from pyro_vd.workflow.report_page.of_run import run_report
from pyro_vd.workflow.report_page.page import check_report, page
from pyro_vd.workflow.report_page.pareto import pareto_section
from pyro_vd.workflow.report_page.section import Section

_LEAD = "What pyro_vd has made of a network: how much smaller it has become, what that has cost, and what is left of it."


def report_runs(
    runs: Sequence[Path | str], path: Path | str, *, data_dir: Path | str | None = None, progress: bool = True
) -> None:
    """Write the report on finished runs: one file of HTML, which needs no other one and no connection.

    Args:
        runs: the folders of the runs. Of several, their errors against their compressions come first.
        path: the file, which is replaced if it exists.
        data_dir: the torchvision root, by default that of each run's recipe.
        progress: whether to show how far it is.

    Raises:
        InputError: the file cannot be one, as its folder is missing; a folder holds no finished run, or is given twice; the
            data of a run are missing; or the runs have different kinds of scores.
        MissingPackageError: the extra ``report`` is not installed.
        OSError: the file cannot be written.
    """
    check_report()
    results = read_results([Path(run) for run in runs])  # first: the file may be in the folder of a run
    path = check_file("out", path)  # before measuring, which takes a while
    if len(scores := {result.score.name for result in results}) > 1:
        message = f"runs with {' and '.join(sorted(scores))} cannot be in one report; report on them apart"
        raise InputError(message, name="runs", value=sorted(scores))
    common: tuple[Section, ...] = ()
    if len(results) > 1:
        sort, ordered = in_order(results)
        common = (pareto_section(ordered, [*differences(ordered), *without_validation(ordered, sort)]),)
    folders = [Path(run).resolve().name for run in runs]
    names = folders if len(set(folders)) == len(runs) else list(map(str, runs))
    subjects = [run_report(run, data_dir, progress, name) for run, name in zip(runs, names, strict=True)]
    title = f"Report on {names[0]}" if len(runs) == 1 else f"Report on {len(runs)} runs"
    write_atomically(path, page(title, _LEAD, subjects, common))
