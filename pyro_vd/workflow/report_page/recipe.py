"""The recipe, the versions, and the commands that repeat what the page shows."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from pyro_vd.workflow.report_page.markup import escaped, folded, paragraph, table
from pyro_vd.workflow.report_page.section import Section

TITLE = "Repeat it"


def versions_here() -> dict[str, str]:
    """The versions of what computes here."""
    return {name: version(name) for name in ("pyro_vd", "torch", "pyro-ppl")} | {"python": platform.python_version()}


def recipe_section(settings: str, title: str, versions: Mapping[str, str], commands: Sequence[str]) -> Section:
    """Make the section.

    Args:
        settings: the recipe, or the arguments, as text.
        title: what they are.
        versions: of what has trained, by name.
        commands: that repeat it.
    """
    parts = [
        paragraph("These lines repeat it:"),
        f'<pre tabindex="0">{escaped(chr(10).join(commands))}</pre>',
        folded(title, f'<pre tabindex="0">{escaped(settings)}</pre>'),
        table(["", "version"], list(versions.items()), "Versions"),
    ]
    return Section("repeat", TITLE, tuple(parts))
