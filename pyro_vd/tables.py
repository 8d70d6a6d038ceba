"""The short tables that every command ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_WIDTH = 110  # a table is never cut to less, whatever standard output is


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> None:
    """Print on standard output; the first column is left-aligned, the others right if they are ``numbers``."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if numbers and index else "left", no_wrap=numbers or not index)
    for row in rows:
        table.add_row(*row)
    width = max(_WIDTH, Console().width)
    if numbers:  # they are never cut
        width = max(width, Console(width=1000).measure(table).maximum)
    Console(width=width).print(table)


def print_networks(title: str, networks: Mapping[str, Mapping[str, Any]]) -> None:
    """Metrics of several networks, a row each: what ``metrics.json`` holds under ``networks``."""
    columns = ["network", "error %", "NLL", "AUC", "ECE", "Brier", "smaller", "sparsity a layer %"]
    print_table(title, columns, [[name, *_cells(metrics)] for name, metrics in networks.items()])


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    layers = [100 * (1 - layer["nonzero"] / layer["weights"]) for layer in metrics["layers"]]
    return [
        f"{100 * metrics['error']:.2f}",
        f"{metrics['nll']:.4f}",
        "–" if metrics["roc_auc"] is None else f"{metrics['roc_auc']:.4f}",
        f"{metrics['ece']:.4f}",
        f"{metrics['brier']:.4f}",
        "∞" if metrics["compression"] is None else f"{metrics['compression']:.1f}x",
        " ".join(f"{value:.1f}" for value in layers),
    ]
