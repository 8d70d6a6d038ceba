"""The headline: error, parameters, bytes and latency, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from pyro_vd._core.extras import check_installed
from pyro_vd._core.messages import one_line
from pyro_vd.evaluation.score import Score
from pyro_vd.export.onnx_file import onnx_network
from pyro_vd.networks.inputs import Inputs, rows
from pyro_vd.runtime.sparsify import sparsify_runtime
from pyro_vd.runtime.timing import shortest_seconds
from pyro_vd.workflow.compress_deploy import BATCH, RUNTIMES, Deploy, batch_of, file_bytes, runner
from pyro_vd.workflow.report_page.markup import escaped, paragraph, table
from pyro_vd.workflow.report_page.section import Section

FILES: Mapping[Deploy, str] = {"torch": "every number", "sparse": "non-zeros only", "onnx": "ONNX"}
_OWN: tuple[Deploy, ...] = ("torch", "sparse")
"""The kinds of files that every network can have."""


@dataclass(frozen=True)
class Measured:
    """A score on test data with its interval of 95 %, which is None where it is not known."""

    score: Score
    interval: tuple[float, float] | None

    @property
    def text(self) -> str:
        """The score with its unit."""
        return f"{self.score.cell()}{' %' if self.score.is_share else ''}"

    def __str__(self) -> str:
        if self.interval is None:
            return self.text
        low, high = (Score(self.score.name, end).cell() for end in self.interval)
        return f"{self.text} [{low}, {high}]"


@dataclass(frozen=True)
class Deployed:
    """What is deployed of a network before and after, each as a pair: bytes by kind of file, and seconds by runtime."""

    bytes: Mapping[str, tuple[int, int]]
    seconds: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]


def deployed(before: nn.Module, after: nn.Module, example: Inputs) -> Deployed:
    """Measure every form in which a network is deployed; a form that cannot be had is left out, and a note says why.

    Args:
        before, after: compact networks, on the CPU.
        example: a few inputs.
    """
    batch, few = batch_of(example), rows(example, slice(3))
    sizes, notes = {FILES[form]: (file_bytes(before, form, few), file_bytes(after, form, few)) for form in _OWN}, []
    pairs: dict[str, tuple[nn.Module, nn.Module]] = {RUNTIMES["torch"]: (before, after)}
    try:
        pairs[RUNTIMES["sparse"]] = before, sparsify_runtime(after, example=batch)
    except Exception as error:  # a network's own code can raise anything when it is followed
        notes.append(f"Without sparse runtime: {one_line(error)[:300]}")
    try:
        check_installed("ONNX", "onnx", "onnxruntime", "onnxscript")
        (old, old_runs), (new, new_runs) = onnx_network(before, few), onnx_network(after, few)
        sizes[FILES["onnx"]] = len(old), len(new)
        pairs[RUNTIMES["onnx"]] = old_runs, new_runs
    except Exception as error:
        notes.append(f"Without ONNX: {one_line(error)[:300]}")
    times = shortest_seconds(*(runner(net, batch) for pair in pairs.values() for net in pair))
    return Deployed(sizes, dict(zip(pairs, zip(times[::2], times[1::2], strict=True), strict=True)), tuple(notes))


def headline(
    errors: tuple[Measured, Measured],
    numbers: Mapping[str, tuple[int, int]],
    forms: Deployed,
    notes: Sequence[str],
    asked: Deploy | None = None,
) -> Section:
    """Make the section.

    Args:
        errors: on test data, before and after.
        numbers: whole numbers before and after, such as those of parameters, by name.
        forms: what is deployed.
        notes: sentences for the reader.
        asked: the kind of file whose size and time are shown large; None shows the smallest and the fastest.
    """
    before, after = errors
    score = before.score.label.removesuffix(" %")
    smaller = {f"bytes, {name}": pair for name, pair in forms.bytes.items()}
    faster = {f"{name}, µs": (1e6 * old, 1e6 * new) for name, (old, new) in forms.seconds.items()}
    rows = [[f"test {score} [95 % interval]", str(before), str(after), _rise(before.score, after.score)]]
    rows += _rows(numbers, "fewer", "more") + _rows(smaller, "smaller", "larger") + _rows(faster, "faster", "slower")
    cards = [(f"test {score}", f"{before.score.cell()} → {after.text}", _rise(before.score, after.score))]
    cards += [(name, _ratio(*pair, "fewer", "more"), f"{pair[0]:,} → {pair[1]:,}") for name, pair in list(numbers.items())[:1]]
    shown = (None, None) if asked is None else (f"bytes, {FILES[asked]}", f"{RUNTIMES[asked]}, µs")
    cards += _card(smaller, shown[0], "smaller", "larger") + _card(faster, shown[1], "faster", "slower")
    told = f"µs: the shortest time of a batch of {BATCH} examples on the machine that made this page."
    parts = [_cards(cards), table(["", "before", "after", "change"], rows)]
    return Section(
        "headline", "Before and after", (*parts, *(paragraph(text, "small") for text in (*notes, told, *forms.notes)))
    )


def _rows(pairs: Mapping[str, tuple[float, float]], less: str, more: str) -> list[list[str]]:
    return [[name, f"{old:,.0f}", f"{new:,.0f}", _ratio(old, new, less, more)] for name, (old, new) in pairs.items()]


def _card(pairs: Mapping[str, tuple[float, float]], name: str | None, less: str, more: str) -> list[tuple[str, str, str]]:
    """The card of a name, or of the least number after; none where there is no number."""
    found = sorted(pairs.items(), key=lambda item: (item[0] != name, item[1][1]))[:1]
    return [(name, _ratio(old, new, less, more), f"{old:,.0f} → {new:,.0f}") for name, (old, new) in found]


def _cards(cards: Sequence[tuple[str, str, str]]) -> str:
    shown = "".join(
        f'<div><dt>{escaped(name)}</dt><dd class="big">{escaped(big)}</dd><dd class="small">{escaped(small)}</dd></div>'
        for name, big, small in cards
    )
    return f'<dl class="cards">{shown}</dl>'


def _rise(old: Score, new: Score) -> str:
    rise = new.shown - old.shown
    return f"{rise:+.2f} percentage points" if old.is_share else f"{rise:+.3g}"


def _ratio(old: float, new: float, less: str, more: str) -> str:
    """How many times less or more it has become, in words; what differs by less than 5 % is the same."""
    if not new or not old:
        return "–"
    ratio, word = (old / new, less) if old >= new else (new / old, more)
    return f"{ratio:,.1f} times {word}" if ratio >= 1.05 else "the same"
