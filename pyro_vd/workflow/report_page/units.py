"""The units of each layer that are left, with their indices, as a diagram of the network before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from pyro_vd.compaction.layer_units import LayerUnits
from pyro_vd.workflow.report_page.markup import escaped, folded, paragraph, table
from pyro_vd.workflow.report_page.section import Section

TITLE = "Units that are left"
_HEIGHT, _WIDTH = 190, 34
_SHORT = 60
"""Longer lists of indices are folded."""


def units_section(units: Mapping[str, LayerUnits], inputs: Mapping[str, tuple[Sequence[str], int]]) -> Section:
    """Make the section.

    Args:
        units: of the pruned network, see :func:`~pyro_vd.compaction.surviving_units`.
        inputs: the names of the inputs that are left, and of how many, by what they are, such as features.
    """
    if not units:
        return Section("units", TITLE, (paragraph("The network has no layer whose units are known.", "left-out"),))
    first = next(iter(units.values()))
    columns = [
        ("inputs", first.inputs, first.all_inputs),
        *((path, each.units, each.all_units) for path, each in units.items()),
    ]
    largest = max(total for _, _, total in columns)
    bars = '<span class="arrow" aria-hidden="true">→</span>'.join(_column(*column, largest) for column in columns)
    told = (
        "Left bar of each pair: all units, one line per unit, filled where it is left. Right bar: the units of the compact "
        "network, to the same scale, which is that of square roots."
    )
    head = ["layer", "kind", "inputs left", "units left"]
    rows = [
        [path, each.kind, _count(each.inputs, each.all_inputs), _count(each.units, each.all_units)]
        for path, each in units.items()
    ]
    lists = [_indices(path, what, left) for path, each in units.items() for what, left in _parts(each)]
    names = [
        folded(
            f"{len(left):,} of {total:,} {what} are left in the compact network",
            f'<p class="words">{escaped(", ".join(left) or "none")}</p>',
        )
        for what, (left, total) in inputs.items()
    ]
    diagram = f'<div class="diagram">{bars}</div>'
    return Section("units", TITLE, (paragraph(told), diagram, *names, table(head, rows, "Units by layer"), *lists))


def _parts(each: LayerUnits) -> Iterator[tuple[str, Sequence[int]]]:
    yield "inputs", each.inputs
    yield "units", each.units


def _count(left: Sequence[int], total: int) -> str:
    return f"{len(left):,} of {total:,}"


def _indices(path: str, what: str, left: Sequence[int]) -> str:
    text, name = ranges(left) or "none", f"layer {path}, indices of the {what} that are left"
    if len(text) <= _SHORT:
        return f'<p class="indices">{escaped(name)}: {escaped(text)}</p>'
    return folded(f"{name}: {len(left):,}", f'<p class="words">{escaped(text)}</p>')


def ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers as text, such as ``0, 3–5, 9``."""
    runs = [list(run) for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    ends = [(run[0][1], run[-1][1]) for run in runs]
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in ends)


def _column(name: str, left: Sequence[int], total: int, largest: int) -> str:
    """Two bars: the units before, in the order of their indices, and those that are left."""
    before, after = (max(3.0, _HEIGHT * (count / largest) ** 0.5) if count else 0.0 for count in (total, len(left)))
    lines = "".join(
        f'<rect class="kept" x="0" y="{_HEIGHT - before + before * first / total:.2f}" width="{_WIDTH}" '
        f'height="{before * (last - first + 1) / total:.2f}"/>'
        for first, last in _merged(left, max(1, total // 800))
    )
    label = escaped(f"{name}: {len(left):,} of {total:,} left")
    wide = 2 * _WIDTH + 10
    size = f'viewBox="0 0 {wide} {_HEIGHT}" width="{wide}" height="{_HEIGHT}"'
    outline = f'<rect class="all" x="0.5" y="{_HEIGHT - before + 0.5:.2f}" width="{_WIDTH - 1}" height="{before - 1:.2f}"/>'
    small = f'<rect class="kept" x="{_WIDTH + 10}" y="{_HEIGHT - after:.2f}" width="{_WIDTH}" height="{after:.2f}"/>'
    picture = f'<svg {size} role="img" aria-label="{label}"><title>{label}</title>{outline}{lines}{small}</svg>'
    caption = f"<b>{escaped(name)}</b><br>{total:,} → {len(left):,}"
    return f'<figure class="column">{picture}<figcaption>{caption}</figcaption></figure>'


def _merged(numbers: Sequence[int], gap: int) -> Iterator[tuple[int, int]]:
    """First and last of runs of rising numbers that are at most ``gap`` apart."""
    start = previous = None
    for value in numbers:
        if start is None or previous is None or value - previous > gap:
            if start is not None and previous is not None:
                yield start, previous
            start = value
        previous = value
    if start is not None and previous is not None:
        yield start, previous
