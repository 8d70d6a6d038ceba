"""The table of the results of several runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict

from pyro_vd.workflow.comparison import RunResult
from pyro_vd.workflow.tables import (
    SIZES,
    SIZES_NOTE,
    SPARSITY,
    print_table,
    size_cells,
    size_spreads,
    sparsities,
    spread,
    with_error,
)


def print_results(title: str, results: Sequence[RunResult], notes: Sequence[str], seeds: Sequence[Sequence[RunResult]]) -> None:
    """Print the results of runs, one numbered row per run; then the means over runs that differ only in the seed; then notes.

    After ± stands the standard error of a run's validation score over the validation examples; in a row of means, the standard
    deviation over the runs.

    Args:
        title: printed above the table.
        results: of the runs, in the order of the rows.
        notes: sentences to print below the table.
        seeds: groups of the results that differ only in the seed.
    """
    test = sorted({result.score.label for result in results}, reverse=True)
    validation = sorted({result.validation.label for result in results if result.validation}, reverse=True) or test
    scores = [f"validation {' or '.join(validation)}", f"test {' or '.join(test)}"]
    columns = ["", "run", "data", *scores, "NLL", *SIZES, SPARSITY, "seconds"]
    rows = []
    for number, result in enumerate(results, 1):
        size = "?" if result.test_size is None else str(result.test_size)
        held_out = with_error(result.validation, result.validation_se) if result.validation else "–"
        quality = [held_out, result.score.cell(), f"{result.nll:.4f}", *size_cells(asdict(result))]
        layers = sparsities(result.sparsity)
        rows.append([str(number), result.run, f"{result.data} ({size})", *quality, layers, f"{result.seconds:.0f}"])
    for group in seeds:
        first = results.index(group[0])
        digits = 2 if group[0].score.is_share else None
        held = [each.validation.shown for each in group if each.validation]
        measured = [
            spread(held, digits) if len(held) == len(group) else "–",
            spread([each.score.shown for each in group], digits),
            spread([each.nll for each in group], 4),
            *size_spreads([asdict(each) for each in group]),
            sparsities({site: statistics.mean(each.sparsity[site] for each in group) for site in _common_sites(group)}),
            spread([each.seconds for each in group], 0),
        ]
        rows.append(["", f"{len(group)} seeds of {first + 1}: mean ± sd", rows[first][2], *measured])
    print_table(title, columns, rows, names=3)
    print(SIZES_NOTE)
    for note in notes:
        print(f"Note: {note}")


def _common_sites(group: Sequence[RunResult]) -> list[str]:
    return [site for site in group[0].sparsity if all(site in each.sparsity for each in group)]
