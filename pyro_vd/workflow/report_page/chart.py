"""A figure of plotly.js in the page, with its text alternative and its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

COLOURS = ("#0067a5", "#c24e00", "#007a5a", "#a3418a", "#7a5c00", "#5a5f66")
"""The colours of curves on a light page, which colour-blind people can tell apart; ``page.js`` has those on a dark one."""
AFTER, BEFORE = COLOURS[0], COLOURS[1]
"""The colours of a network after and before pruning."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

Trace = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A figure of plotly.js.

    Attributes:
        alt: what it shows, in words.
        traces: of plotly.js.
        layout: of plotly.js, without colours.
        caption: below the figure.
        head: the names of the columns of its numbers.
        rows: its numbers.
        height: in pixels.
        is_half: whether two of them fit side by side on a wide page.
    """

    alt: str
    traces: Sequence[Trace]
    layout: dict[str, Any]
    caption: str = ""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = field(default=(), repr=False)
    height: int = 340
    is_half: bool = False


def line(x: Sequence[Any], y: Sequence[Any], name: str, number: int = 0, **more: Any) -> Trace:
    """Return a curve, with the colour and the dashes of its number."""
    style = {"color": COLOURS[number % len(COLOURS)], "dash": DASHES[number % len(DASHES)], "width": 2}
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "name": plain(name), "line": style, **more}


def band(x: Sequence[Any], low: Sequence[Any], high: Sequence[Any], colour: str, opacity: float) -> list[Trace]:
    """Return the area between two curves; the page's program makes its colour transparent."""
    common = {"type": "scatter", "mode": "lines", "x": list(x), "hoverinfo": "skip", "showlegend": False}
    edge = {"color": colour, "width": 0}
    return [
        {**common, "y": list(low), "line": edge},
        {**common, "y": list(high), "line": edge, "fill": "tonexty", "fillcolor": colour, "meta": opacity},
    ]


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis with a title."""
    return {"title": {"text": title}, **more}


def log_axis(title: str, values: Sequence[float | None], unit: str = "", **more: Any) -> dict[str, Any]:
    """Return a logarithmic axis for these values, with the ticks 1, 2, 5, 10 and so on, or only 1, 10, 100 of a wide range."""
    shown = [value for value in values if value is not None and 0 < value < math.inf]
    low, high = min(shown, default=1.0), max(shown, default=1.0)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]
    if sum(low <= tick <= high for tick in ticks) < 2:  # of a narrow range
        return axis(title, ticksuffix=unit, **more)
    texts = [f"{tick:,.10g}{unit}" for tick in ticks]
    room = 0.04 * math.log10(high / low)
    limits = [math.log10(low) - room, math.log10(high) + room]
    return axis(title, type="log", tickvals=ticks, ticktext=texts, range=limits, **more)


def upright(x: float, dash: str = "dash") -> dict[str, Any]:
    """Return a vertical line through the whole figure."""
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "line": {"dash": dash, "width": 1.5},
    }


def plain(text: str) -> str:
    """Return text that plotly.js shows as it is: it would take some tags of HTML as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
