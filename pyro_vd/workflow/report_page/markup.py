"""Parts of HTML, of text that can be anything: names of runs, classes, features and words never become markup."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from pyro_vd._core.storage import as_json


def escaped(value: object) -> str:
    """Return text as HTML shows it as it is, also inside the quotes of an attribute."""
    return html.escape(str(value), quote=True)


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; ``kind`` is its class."""
    return f'<p class="{escaped(kind)}">{escaped(text)}</p>' if kind else f"<p>{escaped(text)}</p>"


def table(head: Sequence[object], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """Return a table whose first column names its rows. Wide ones scroll, also by keyboard."""
    top = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escaped(row[0])}</th>{"".join(f"<td>{escaped(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    named = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return scrolled(f"<table>{named}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", caption or "table")


def scrolled(inner: str, label: str) -> str:
    """Return a box that scrolls sideways where what is in it is too wide."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(label)}">{inner}</div>'


def folded(summary: str, inner: str) -> str:
    """Return HTML that is shown once its summary is opened."""
    return f"<details><summary>{escaped(summary)}</summary>{inner}</details>"


def json_block(name: str, content: Any) -> str:
    """Return a block of JSON for the page's program. Text in it, such as ``</script>``, does not end the block."""
    text = as_json(content)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{escaped(name)}">{text}</script>'
