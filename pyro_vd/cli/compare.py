"""``pyro-vd compare``: finished runs side by side, in a table and a figure."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd.cli.arguments import new_file
from pyro_vd.cli.parsing import Parser


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    from pyro_vd._core.storage import as_json, save_figure
    from pyro_vd.evaluation.deployed import kilobytes
    from pyro_vd.workflow.comparison import (
        Sort,
        configurations,
        differences,
        in_order,
        read_results,
        same_but_seed,
        without_validation,
    )
    from pyro_vd.workflow.results_table import print_results

    parser = Parser("compare RUN… [--sort KEY] [--out FILE]")
    parser.value("runs", str, "folders of finished runs; their pruned networks are compared", nargs="+")
    sorting = "what to sort by, the best first (default: the validation score; error where a run has none)"
    parser.value("--sort", Sort, sorting)
    parser.value("--out", str, "figure to write, of the error against the compression: a .png, .pdf or .svg file")
    values = parser.read(arguments)

    sort, results = in_order(read_results([Path(run) for run in values.runs]), values.sort)
    notes = differences(results)
    if values.out:
        from pyro_vd.plots.sizes import error_against_compression

        if Path(values.out).suffix not in (".png", ".pdf", ".svg"):
            raise InputError(name="out", value=values.out, allowed="a .png, .pdf or .svg file")
        if len({result.score.name for result in results}) > 1:
            raise InputError(
                f"out (={values.out!r}): shares of wrong predictions and RMSEs cannot be in one figure; compare them apart",
                name="out",
                value=values.out,
            )
        out = new_file(values.out)
        differ = len({result.data for result in results}) > 1
        points = {}
        for name, runs in configurations(results).items():
            bytes_ = [run.deployed.sparse_bytes for run in runs if run.deployed]
            size = f", {kilobytes(round(statistics.mean(bytes_)))}" if bytes_ else ""
            label = f"{name}{f', on {runs[0].data}' if differ else ''}{size}"
            points[label] = [(run.compression, run.score) for run in runs]
        save_figure(error_against_compression(points), out)
    notes += without_validation(results, sort)
    if values.json:
        print(as_json({"runs": [asdict(result) for result in results], "sort": sort, "notes": notes, "figure": values.out}))
    else:
        where = f"; figure: {values.out}" if values.out else ""
        print_results(f"pruned networks, sorted by {sort}{where}", results, notes, same_but_seed(results))
