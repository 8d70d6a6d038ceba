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
    """A table anew, without a line after it; one of many columns is turned round, so that its columns become rows."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    head, body = rows[0], rows[2:]
    if len(head) > MOST_COLUMNS:
        head, *body = map(list, zip(head, *body, strict=True))
    return table(head, body)[:-1]
