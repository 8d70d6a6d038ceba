"""The page of the documentation that ``peers.py`` writes: its text and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

Line = dict[str, Any]
INTRODUCTION = """# Several ways to make a trained network smaller, side by side

Written by `python benchmarks/peers.py --table docs/peers.md` from the lines that `python benchmarks/peers.py` has measured; the
other libraries come with `pip install --group zoo --group peers`.
"""
COLUMNS = {
    "error %": ("error", 100.0, ".2f"),
    "times fewer weights": ("compression", 1.0, ".1f"),
    "parameters": ("parameters", 1.0, ",.0f"),
    "bytes, sparse file": ("sparse_bytes", 1.0, ",.0f"),
    "bytes, ONNX": ("onnx_bytes", 1.0, ",.0f"),
    "ONNX Runtime, µs": ("latency", 1e6, ".0f"),
    "times faster": ("speed", 1.0, ".1f"),
    "seconds": ("seconds", 1.0, ".0f"),
}
"""By heading, what is shown: the value of a line, its factor and its format."""


def rows(lines: Sequence[Line]) -> list[str]:
    """A row per target and method, in the order of the lines: means over the seeds, and of several errors the range."""
    found: dict[tuple[float, str], list[Line]] = {}
    for line in lines:
        found.setdefault((line["target"], line["method"]), []).append(line)
    text = []
    for target, method in sorted(found, key=lambda key: key[0]):
        of = found[target, method]
        values = {name: [factor * line[key] for line in of] for name, (key, factor, _) in COLUMNS.items()}
        cells = [format(mean(each), COLUMNS[name][2]) for name, each in values.items()]
        if len(of) > 1:
            cells[0] += f" ({min(values['error %']):.2f}–{max(values['error %']):.2f})"
        text.append(f"| {'–' if method == 'dense' else f'{target:g}'} | {method} | {' | '.join(cells)} |")
    return text


def page(lines: Sequence[Line]) -> str:
    """The page: a table per network, number of epochs and learning rate."""
    parts = [INTRODUCTION]
    for settings in dict.fromkeys((line["net"], line["epochs"], line["lr"]) for line in lines):
        of = [line for line in lines if (line["net"], line["epochs"], line["lr"]) == settings]
        net, epochs, lr = settings
        seeds = len({line["seed"] for line in of})
        parts.append(f"## {net}, {epochs} epochs, learning rate {lr:g}, {seeds} seed{'s' * (seeds > 1)}\n")
        head = f"| target | method | {' | '.join(COLUMNS)} |\n| ---: | --- |{' ---: |' * len(COLUMNS)}"
        parts.append("\n".join([head, *rows(of)]) + "\n")
    return "\n".join(parts)
