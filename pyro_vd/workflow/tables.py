"""The tables that commands print at their end."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.table import Table

from pyro_vd._core.terminal import console
from pyro_vd.compaction.layer_units import LayerUnits, unit_counts
from pyro_vd.evaluation.score import RMSE, Score, score_in
from pyro_vd.networks.sizes import OTHERS

SIZES = ("compression", "with prior %", "parameters", "bytes", "sparse bytes")
"""The columns for the size of a network."""
SPARSITY = "sparsity per layer %"
SIZES_NOTE = (
    "compression: |W| / |W kept| over all weights, biases not counted; parameters and bytes are of the compact network, with "
    "every number or only the non-zeros in its file"
)
"""A note that explains the columns of :data:`SIZES`."""

_WIDTH = 110  # a table is never cut to less, whatever standard output is


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True, names: int = 1
) -> None:
    """Print a table on standard output.

    Args:
        title: printed above the table.
        columns: the names of the columns.
        rows: the cells.
        numbers: whether cells are numbers: right-aligned, and never broken into several lines.
        names: how many columns, from the first, hold names, which are left-aligned.
    """
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if numbers and index >= names else "left", no_wrap=numbers or not index)
    for row in rows:
        table.add_row(*row)
    wide = console(width=10_000)
    needed = Measurement.get(wide, wide.options, table).maximum if numbers else 0  # numbers and names stay in one line
    console(width=max(_WIDTH, console().width, needed)).print(table)


def print_networks(title: str, networks: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the metrics of several networks, one row per network, as ``metrics.json`` holds them under ``networks``."""
    print_table(title, *quality_table(networks))
    print_sizes("size", networks)


def quality_table(networks: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of how good the predictions of several networks are, one row per network."""
    quality = ["error %", "NLL", "AUC", "ECE", "ECE mass", "Brier", "entropy", "MI"]
    for metrics in networks.values():
        if "rmse" in metrics:
            quality = ["RMSE", "NLL", f"in 50 % of {metrics['examples']}", f"in 90 % of {metrics['examples']}"]
    return ["network", *quality], [[name, *_cells(metrics)] for name, metrics in networks.items()]


def print_sizes(title: str, networks: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the sizes of several networks, one row per network, and notes on the columns and on networks not compacted."""
    rows = [[name, *size_cells(m), sparsities(sparsity_by_site(m["layers"]))] for name, m in networks.items()]
    print_table(title, ["network", *SIZES, SPARSITY], rows)
    print(SIZES_NOTE)
    for name, metrics in networks.items():
        if why := (metrics.get("deployed") or {}).get("not_compacted"):
            print(f"Note: {name} is counted as it is, not compacted: {why}")


def score_cell(metrics: Mapping[str, Any], prefix: str = "") -> str:
    """The cell of a score among measured values; a dash where none was measured."""
    score = score_in(metrics, prefix)
    return score.cell() if score else "–"


def with_error(score: Score, se: float | None) -> str:
    """The cell of a score with its standard error where that is known."""
    if se is None or not math.isfinite(se):
        return score.cell()
    return f"{score.cell()} ± {f'{100 * se:.2f}' if score.is_share else _of_two_digits(se)}"


def spread(values: Sequence[float], digits: int | None) -> str:
    """The mean of values, with their standard deviation where there are several; ∞ if one of them is infinite.

    ``digits`` after the point; None for as many as a score that is no share has.
    """
    if math.inf in values:
        return "∞"
    mean = f"{statistics.mean(values):{'.4g' if digits is None else f',.{digits}f'}}"
    if len(values) == 1:
        return mean
    deviation = statistics.stdev(values)
    return f"{mean} ± {_of_two_digits(deviation) if digits is None else f'{deviation:,.{digits}f}'}"


def _of_two_digits(value: float) -> str:
    return f"{value:#.2g}".rstrip(".")


def size_cells(metrics: Mapping[str, Any]) -> list[str]:
    """The cells of the columns :data:`SIZES`, for a network in ``metrics.json`` or a ``RunResult`` as a dict."""
    smaller, *rest = size_spreads([metrics])
    return [f"{smaller}x" if smaller[0].isdigit() else smaller, *rest]


def size_spreads(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """The cells of the columns :data:`SIZES`, as means and standard deviations over several networks.

    A dash stands for what an earlier version did not measure.
    """
    compression = [math.inf if n["compression"] is None else n["compression"] for n in networks]
    share = [n.get("prior_share") for n in networks]
    deployed = [n.get("deployed") or {} for n in networks]
    return [
        spread(compression, 1),
        _spread_or_dash([None if value is None else 100 * value for value in share], 1),
        *(_spread_or_dash([size.get(key) for size in deployed], 0) for key in ("parameters", "bytes", "sparse_bytes")),
    ]


def _spread_or_dash(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "–"
    return spread(known, digits)


def sparsity_by_site(layers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The share of removed weights, in [0, 1], by weight site, for layers as ``metrics.json`` holds them."""
    return {layer["site"]: 1 - layer["nonzero"] / layer["weights"] for layer in layers}


def sparsities(shares: Mapping[str, float]) -> str:
    """A cell of the shares of removed weights, in %, by weight site; in brackets that of all weights without a prior."""
    cells = [f"({100 * share:.1f})" if site == OTHERS else f"{100 * share:.1f}" for site, share in shares.items()]
    return " ".join(cells)


def units_text(units: Mapping[str, Mapping[str, Any]] | str) -> str:
    """Write the numbers of inputs and hidden units that are left, as in 97-71-33, and the rows that are left of embeddings.

    Args:
        units: the entry ``compact.units`` of ``metrics.json``: the fields of :class:`~pyro_vd.compaction.LayerUnits` by layer,
            or the text itself in a run of an earlier version.
    """
    if isinstance(units, str):
        return units
    layers = [LayerUnits(**{field.name: each[field.name] for field in fields(LayerUnits)}) for each in units.values()]
    text = "-".join(f"{count}" for count in unit_counts(dict(zip(units, layers, strict=True))))
    rows = [
        f"{path or layer.kind}: {len(layer.inputs):,} of {layer.all_inputs:,} rows"
        for path, layer in zip(units, layers, strict=True)
        if "Embedding" in layer.kind
    ]
    return f"{text} ({', '.join(rows)})" if rows else text


def _or_dash(value: float | None, digits: int) -> str:
    """The number, or a dash where it does not exist or was not measured by an earlier version."""
    return "–" if value is None else f"{value:.{digits}f}"


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    if "rmse" in metrics:
        quality = ["∞" if metrics["rmse"] in (None, math.inf) else with_error(Score(RMSE, metrics["rmse"]), metrics["rmse_se"])]
        shares = ((level, metrics[f"coverage_{level}"]) for level in (50, 90))
        rest = [_coverage(level, share, metrics["examples"]) for level, share in shares]
    else:
        quality = [score_cell(metrics)]
        shown = ("ece", "ece_equal_mass", "brier", "entropy", "mutual_information")
        rest = [_or_dash(metrics["roc_auc"], 4), *(_or_dash(metrics.get(key), 3) for key in shown)]
    return [
        *quality,
        "∞" if metrics["nll"] is None else f"{metrics['nll']:.4f}",
        *rest,
    ]


def _coverage(level: int, share: float | None, examples: int) -> str:
    """A cell of the share of observations in an interval, with the standard deviation of that share by chance."""
    return "–" if share is None else f"{100 * share:.1f} ± {chance_of_coverage(level, examples):.1f}"


def chance_of_coverage(level: int, examples: int) -> float:
    """The standard deviation of the coverage, in percentage points, of exact intervals of a level in % for so many examples."""
    return math.sqrt(level * (100 - level) / examples)
