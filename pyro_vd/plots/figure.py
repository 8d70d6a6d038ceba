"""The figure that every picture is drawn in."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from matplotlib.figure import Figure as _Figure

from pyro_vd.plots.style import DPI, styled

_SHOWN = 96  # pixels per inch of a page


class Figure(_Figure):
    """A figure of matplotlib that notebooks show without pyplot, which keeps every figure in memory."""

    @styled()
    def draw(self, renderer: Any) -> None:
        super().draw(renderer)  # some ticks are made only now

    @styled()
    def savefig(self, fname: Any, **options: Any) -> None:
        super().savefig(fname, **options)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture for a notebook, in a resolution for sharp screens, and its size on the page."""
        file = BytesIO()
        self.savefig(file, format="png", dpi=DPI)
        width, height = (round(_SHOWN * inches) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}
