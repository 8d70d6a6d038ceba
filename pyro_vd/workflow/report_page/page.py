"""The page: all sections, its style and its programs in one file of HTML, which loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from pyro_vd._core.extras import check_installed
from pyro_vd.workflow.report_page.chart import COLOURS, Chart
from pyro_vd.workflow.report_page.markup import escaped, folded, json_block, table
from pyro_vd.workflow.report_page.masks import packed_bytes
from pyro_vd.workflow.report_page.section import Section, Subject

_ON_DARK = ("#5db7f0", "#ff9a4d", "#3fcf9f", "#eb8fcf", "#e0b84a", "#b5bcc4")
"""What stands for each of :data:`~.chart.COLOURS` on a dark page."""


def check_report() -> None:
    """Refuse to make a page where what it needs is not installed.

    Raises:
        MissingPackageError: naming the extra.
    """
    check_installed("a report page", "plotly", "matplotlib")


def page(title: str, lead: str, subjects: Sequence[Subject], common: Sequence[Section] = ()) -> bytes:
    """Return the page as a file's content.

    Args:
        title: of the page.
        lead: the sentence below it.
        subjects: what it reports on.
        common: sections before them.
    """
    from plotly.offline import get_plotlyjs

    program, plotly = _text("page.js"), get_plotlyjs()
    made = _Parts()
    head = "".join(made.section(section, "all", 2) for section in common)
    body = "".join(made.subject(subject, f"r{place}") for place, subject in enumerate(subjects))
    content = {"charts": made.charts, "sliders": made.sliders, "dark": dict(zip(COLOURS, _ON_DARK, strict=True))}
    allowed = " ".join(f"'sha256-{_digest(text)}'" for text in (program, plotly))
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"
    places = [(f"all-{section.key}", section.title) for section in common]
    places += [(f"r{place}", subject.name) for place, subject in enumerate(subjects)]
    links = f'<nav aria-label="Runs">{_links(places)}</nav>' if len(places) > 1 else ""
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escaped(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_text('page.css')}</style></head><body>"
        f'<a class="skip" href="#main">To the content</a><header><h1>{escaped(title)}</h1><p>{escaped(lead)}</p>'
        f'{links}<p id="note" role="status" hidden></p>'
        "<noscript><p>Without JavaScript there are no figures and no slider; the numbers of each figure are there."
        f'</p></noscript></header><main id="main">{head}{body}</main>'
        f"{json_block('content', content)}{json_block('plotly', packed_bytes(plotly.encode()))}"
        f"<script>{program}</script></body></html>\n"
    )
    return html.encode("utf-8", "replace")


class _Parts:
    """The sections as HTML, and what the page's program needs for them."""

    def __init__(self) -> None:
        self.charts: dict[str, object] = {}
        self.sliders: dict[str, object] = {}

    def subject(self, subject: Subject, prefix: str) -> str:
        links = _links([(f"{prefix}-{section.key}", section.title) for section in subject.sections])
        sections = "".join(self.section(section, prefix, 3) for section in subject.sections)
        name = escaped(subject.name)
        return f'<article id="{prefix}"><h2>{name}</h2><nav aria-label="{name}">{links}</nav>{sections}</article>'

    def section(self, section: Section, prefix: str, level: int) -> str:
        anchor = f"{prefix}-{section.key}"
        if section.slider is not None:
            self.sliders[anchor] = section.slider
        inner = "".join(part if isinstance(part, str) else self._chart(part, anchor) for part in section.parts)
        heading = f'<h{level} id="{anchor}-h">{escaped(section.title)}</h{level}>'
        return f'<section id="{anchor}" aria-labelledby="{anchor}-h">{heading}{inner}</section>'

    def _chart(self, chart: Chart, anchor: str) -> str:
        name = f"{anchor}-f{len(self.charts)}"
        self.charts[name] = {"traces": chart.traces, "layout": chart.layout}
        numbers = folded("Numbers", table(chart.head, chart.rows)) if chart.rows else ""
        caption = f"<figcaption>{escaped(chart.caption)}</figcaption>" if chart.caption else ""
        drawing = (
            f'<div class="plot" id="{name}" role="img" aria-label="{escaped(chart.alt)}" style="height:{chart.height}px"></div>'
        )
        kind = ' class="half"' if chart.is_half else ""
        return f"<figure{kind}>{drawing}{caption}{numbers}</figure>"


def _links(places: Sequence[tuple[str, str]]) -> str:
    items = "".join(f'<li><a href="#{anchor}">{escaped(name)}</a></li>' for anchor, name in places)
    return f"<ul>{items}</ul>"


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
