"""A section of the report page: its title, and what is below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyro_vd.workflow.report_page.chart import Chart
from pyro_vd.workflow.report_page.markup import paragraph


@dataclass(frozen=True)
class Section:
    """A section.

    Attributes:
        key: its name in addresses, such as ``units``.
        title: its heading.
        parts: HTML and figures, in order.
        slider: what the page's program needs for a slider in it; None without one.
    """

    key: str
    title: str
    parts: tuple[str | Chart, ...]
    slider: Mapping[str, Any] | None = None


def left_out(key: str, title: str, why: str) -> Section:
    """Return a section that says in a sentence why it has nothing to show."""
    return Section(key, title, (paragraph(why, "left-out"),))


@dataclass(frozen=True)
class Subject:
    """What a page reports on: a run, or a compression.

    Attributes:
        name: its heading.
        sections: in order.
    """

    name: str
    sections: tuple[Section, ...]
