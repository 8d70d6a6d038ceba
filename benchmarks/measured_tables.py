"""Tables of the measured figures as Markdown, wide ones turned round."""

from __future__ import annotations

from collections.abc import Sequence

MOST_COLUMNS = 8


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str] = ()) -> list[str]:
    """The lines of a table; all columns but the first, and those of ``words``, are right-aligned."""
    rules = ["---", *("---" if column in words else "---:" for column in columns[1:])]
    head = [f"| {' | '.join(columns)} |", f"| {' | '.join(rules)} |"]
    return [*head, *(f"| {' | '.join(row)} |" for row in rows), ""]


def narrow(lines: Sequence[str]) -> list[str]:
    """The lines of a table; one of many columns is turned round, so that its columns become rows."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    if len(rows[0]) <= MOST_COLUMNS:
        return list(lines)
    turned = list(zip(rows[0], *rows[2:], strict=True))
    return table(turned[0], turned[1:])
