"""The page of the documentation that ``inference.py`` writes: its text and its tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Times = dict[str, list[float]]
"""Seconds of every call, by form."""
INTRODUCTION = """# Latency of pruned networks

Written by `python benchmarks/inference.py RUN… --table docs/inference.md` from folders of finished runs. All forms of a network
take turns in one process, and medians are shown: microseconds of a batch for `dense`, the network before pruning, and for the
other forms how many times faster they are; below 1 they are slower. On one thread the time is that of
the processor, on several it is that of the clock.

- `masked` holds the pruned weights as zeros; `compact` is `compact(masked)`, without the units that do not matter.
- `CSR` runs each layer as compressed sparse rows, `compact CSR` those of the compact network.
- `chosen` is `sparsify_runtime(compact(masked))`, which measures each layer in both forms, and takes what is faster at the
  batch size. The lines under a table are its `repr`: they say what was chosen, and the times that decided.
- SciPy and MKL multiply the compact network's layers by their sparse products; ONNX Runtime and OpenVINO run its ONNX file.

A form that is not in a table needs a package that was not installed, or, as CSR throughout, SciPy and MKL, a network of linear
layers alone.
"""


@dataclass(frozen=True)
class Measured:
    """What was measured of a run.

    Attributes:
        name: of the run.
        note: what is to be known of it; empty for nothing.
        sizes: heading and rows of the table of parameters and operations.
        files: heading and rows of that of files.
        times: by number of threads and size of the batch.
        chosen: by number of threads, what the chooser says of its choice.
    """

    name: str
    note: str
    sizes: tuple[Sequence[str], list[list[str]]]
    files: tuple[Sequence[str], list[list[str]]]
    times: Mapping[int, Mapping[int, Times]]
    chosen: Mapping[int, str]


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, with numbers at the right."""
    lines = [" | ".join(columns), " | ".join(["---", *["---:"] * (len(columns) - 1)]), *map(" | ".join, rows)]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def speeds(times: Mapping[int, Times]) -> tuple[list[str], list[list[str]]]:
    """The table for one number of threads: a row per form, a column per batch size."""
    medians = {batch: {name: statistics.median(found) for name, found in of.items()} for batch, of in times.items()}
    names = dict.fromkeys(name for of in times.values() for name in of)
    rows = []
    for name in names:
        if name == "dense":
            cells = [f"{1e6 * of[name]:,.0f} µs" for of in medians.values()]
        else:
            cells = [f"{of['dense'] / of[name]:.2f}" for of in medians.values()]
        rows.append([f"`{name}`" if name.islower() else name, *cells])
    return ["form", *(f"batch {batch:,}" for batch in times)], rows


def page(measured: Sequence[Measured]) -> str:
    """The page."""
    parts = [INTRODUCTION]
    for of in measured:
        parts += [f"## {of.name}\n", *([f"{of.note}\n"] if of.note else []), markdown(*of.sizes), markdown(*of.files)]
        for threads, times in of.times.items():
            parts += [f"### {of.name}, {threads} thread{'s' * (threads > 1)}\n", markdown(*speeds(times))]
            parts.append(f"```text\n{of.chosen[threads]}\n```\n")
    return "\n".join(parts)
