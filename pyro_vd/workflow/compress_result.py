"""The result of a compression: the small network, what it was measured to be, its file and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from pyro_vd._core.arguments import check_file, check_path
from pyro_vd._core.shown import Row, Shown, as_plain, flat, html_table
from pyro_vd._core.storage import write_atomically
from pyro_vd.evaluation.deployed import kilobytes
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.paired import PairedTest, paired_test
from pyro_vd.evaluation.score import Score
from pyro_vd.evaluation.standard_error import Losses
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.models.likelihood_files import describe
from pyro_vd.networks.inputs import Inputs
from pyro_vd.workflow.compress_data import CompressData
from pyro_vd.workflow.compress_deploy import BATCH, Deploy, Footprint, save
from pyro_vd.workflow.compress_level import Trained


@dataclass(frozen=True)
class Attempt:
    """A size that was tried.

    Attributes:
        target: how many times fewer bytes were asked for.
        smaller: how many times fewer there are.
        size: the size of the compressed network.
        score: its validation score.
        latency: the seconds of a batch where it is deployed; None where they were not measured.
        is_taken: whether it is the result.
    """

    target: float
    smaller: float
    size: Footprint
    score: Score
    latency: float | None
    is_taken: bool


@dataclass(frozen=True, repr=False)
class CompressResult(Shown):
    """What :func:`~pyro_vd.compress` returns; ``print`` shows it as a table."""

    network: nn.Module = field(repr=False)
    """The compact network, in evaluation mode on the CPU, without Pyro."""
    deploy: Deploy
    """What is counted and saved."""
    met: bool
    """Whether the target was reached."""
    before: Footprint
    """The size of the given network as it would be deployed, compact."""
    after: Footprint
    """The size of :attr:`network`."""
    losses_before: Losses = field(repr=False)
    """The losses of the given network on :attr:`measured_on`."""
    losses_after: Losses = field(repr=False)
    """Those of :attr:`network`."""
    measured_on: str
    """The data that the errors in the table are of: "test data" where they were given, or the validation data."""
    seconds: Mapping[str, tuple[float, float]]
    """The seconds of a batch before and after, by runtime."""
    attempts: tuple[Attempt, ...]
    """The sizes that were tried, smallest compression first; one where the target is a number."""
    notes: tuple[str, ...]
    """Sentences for the reader: what was not reached, and what the data cannot tell."""
    said: tuple[str, ...]
    """Sentences that were said as messages before the training; :meth:`report` shows them, ``print`` does not again."""
    likelihood: Likelihood = field(repr=False)
    """The likelihood of what the network predicts."""
    example: Inputs = field(repr=False)
    """A few inputs, which file formats need."""
    trained: Trained = field(repr=False)
    """How :attr:`network` was made: its guide, its threshold and its history."""
    given: nn.Module = field(repr=False)
    """The given network, compact."""
    given_likelihood: Observed | None = field(repr=False)
    """The likelihood of the output of the given network."""
    data: CompressData = field(repr=False)
    """The data, as they were used."""
    arguments: Mapping[str, Any] = field(repr=False)
    """What the compression was asked for, by the names of the arguments of :func:`~pyro_vd.compress`."""

    @property
    def test(self) -> PairedTest:
        """The comparison with the given network, example by example."""
        return paired_test(self.losses_before, self.losses_after)

    @property
    def smaller(self) -> float:
        """How many times smaller the file has become."""
        return self.before.bytes / self.after.bytes

    def table(self) -> list[list[str]]:
        """The table: the names of the columns, the given network, the compressed one, and their ratios."""
        score = self.losses_before.score
        columns = ["network", f"{score.label} [95 % interval]", "parameters", "FLOPs", "bytes"]
        columns += [f"{runtime}, µs" for runtime in self.seconds]
        rows = [columns]
        networks = ("before", self.before, self.losses_before), ("after", self.after, self.losses_after)
        for place, (name, size, losses) in enumerate(networks):
            low, high = (Score(score.name, end).cell() for end in losses.interval)
            sizes = [f"{number:,}" for number in (size.parameters, size.flops, size.bytes)]
            times = [f"{1e6 * pair[place]:,.0f}" for pair in self.seconds.values()]
            rows.append([name, f"{losses.score.cell()} [{low}, {high}]", *sizes, *times])
        numbers = [(getattr(self.before, name), getattr(self.after, name)) for name in ("parameters", "flops", "bytes")]
        ratios = [f"{old / new:.1f}x" if new else "–" for old, new in (*numbers, *self.seconds.values())]
        rise = self.losses_after.score.shown - score.shown
        return [*rows, ["smaller, faster", f"{rise:+.2f}" if score.is_share else f"{rise:+.4g}", *ratios]]

    def tried(self) -> list[list[str]]:
        """The table of the sizes that were tried; empty where it was one."""
        if len(self.attempts) < 2:
            return []
        columns = ["tried", "times fewer bytes", "parameters", f"validation {self.attempts[0].score.label}", "µs", ""]
        rows = [
            [
                f"{each.target:.3g}x",
                f"{each.smaller:.1f}x",
                f"{each.size.parameters:,}",
                each.score.cell(),
                "–" if each.latency is None else f"{1e6 * each.latency:,.0f}",
                "taken" if each.is_taken else "",
            ]
            for each in self.attempts
        ]
        return [columns, *rows]

    def captions(self) -> list[str]:
        """The sentences under the table."""
        size = len(self.losses_before.sums)
        measured = f"Error: {size:,} examples of the {self.measured_on}. {self.test}."
        return [measured, f"Times: a batch of {BATCH}, the shortest of several turns.", *self.notes]

    def __repr__(self) -> str:
        sizes = f"{kilobytes(self.before.bytes)} → {kilobytes(self.after.bytes)}, {self.smaller:.4g}x smaller"
        scores = f"{self.losses_before.score} → {self.losses_after.score.cell()}"
        if self.test.is_clear and not self.losses_before.score.allows(self.losses_after.score, 0):
            scores += f", clearly worse (p = {self.test.p_value:.2g})"
        return f"CompressResult({'target met' if self.met else 'target not met'}: {scores}; {self.deploy} file {sizes})"

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes, the scores with their intervals, the times and the notes as plain values."""
        networks = ("before", self.before, self.losses_before), ("after", self.after, self.losses_after)
        sizes: dict[str, Any] = {}
        for place, (name, size, losses) in enumerate(networks):
            seconds = {runtime: pair[place] for runtime, pair in self.seconds.items()}
            sizes[name] = {**losses.score.named(), "interval": list(losses.interval), **as_plain(size), "seconds": seconds}
        common = {
            "deploy": self.deploy,
            "met": self.met,
            "measured_on": self.measured_on,
            "examples": len(self.losses_before.sums),
        }
        return {**common, **sizes, "p_value": self.test.p_value, "notes": list(self.notes)}

    def _rows(self) -> Sequence[Row]:
        found = self.to_dict()
        return [{"network": name, **flat(found[name])} for name in ("before", "after")]

    def _repr_html_(self) -> str:
        columns, *rows = self.table()
        return html_table(repr(self), [dict(zip(columns, row, strict=True)) for row in rows], self.captions())

    def __str__(self) -> str:
        return "\n".join([*_lines(self.table()), *self.captions(), *_lines(self.tried())])

    def save(self, path: Path | str, info: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Write the compact network: an ONNX file (``.onnx``), one of torch.export (``.pt2``), or a ``.safetensors`` file.

        The safetensors file, for :func:`~pyro_vd.load_pruned`, is sparse where ``deploy`` is "sparse".

        Args:
            path: the file; replaced if it exists.
            info: what a safetensors file is to say beside the likelihood, such as the name of the data.

        Raises:
            InputError: the name has another end, or the network cannot be written in this format.
            OSError: the disk is full or the folder is not writable.
        """
        said = {"smaller": self.smaller, **describe(self.likelihood), **info}
        save(self.network, check_path("path", path), self.deploy, self.example, said)

    def report(self, path: Path | str) -> None:
        """Write the report as one file of HTML, which needs no other one and no connection; it is replaced if it exists.

        Raises:
            InputError: the folder of the file is missing, or the path is not that of a file.
            MissingPackageError: the extra ``report`` is not installed.
            OSError: the disk is full or the folder is not writable.
        """
        from pyro_vd.workflow.report_page.of_compression import compression_report  # it imports this module

        write_atomically(check_file("path", path), compression_report(self))


def _lines(rows: list[list[str]]) -> list[str]:
    """The lines of a table as text; none of an empty one."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return [lines[0], "-" * len(lines[0]), *(line.rstrip() for line in lines[1:])]
