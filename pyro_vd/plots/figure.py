"""The figure that every picture is drawn in."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure as _Figure


class Figure(_Figure):
    """A figure of matplotlib that notebooks show without pyplot, which keeps every figure in memory."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()
