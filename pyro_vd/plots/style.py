"""The look of every figure: colours, sizes of text, resolution, and the numbers on the axes.

Figures have a white background of their own, so that they can be read on a dark page too, and whatever style matplotlib is set
to. Colours are those of Okabe and Ito, which colour-blind people can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.style
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from pyro_vd._core.threads import alone

DPI = 150
"""The resolution of files, in pixels per inch."""
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""The colours of curves."""
MARKERS = ("o", "s", "^", "D", "v", "P")
"""The markers of curves."""
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""The dashes of curves."""
INK, MUTED, GRID, PAPER = "#1F2328", "#5F6872", "#DDE2E7", "#FFFFFF"
"""The colours of text and lines, of what matters less, of grids, and of the background."""
SMALL = 8.5
"""The size of small text, in points."""
LEFT = LinearSegmentedColormap.from_list("left", [PAPER, "#0072B2", "#00263D"])
"""The colours of shares of weights that are left: white for none."""

STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "savefig.dpi": DPI,
    "axes.facecolor": PAPER,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "image.interpolation": "nearest",
    "image.cmap": "cividis",
}


@contextmanager
def styled() -> Iterator[None]:
    """Let matplotlib draw in :data:`STYLE`, whatever its settings are; also a decorator, ``@styled()``."""
    with alone(), matplotlib.style.context(["default", STYLE]):
        yield


def darker(colour: str, by: float = 0.62) -> tuple[float, float, float]:
    """Return a colour that is dark enough for text on white."""
    red, green, blue = (by * part for part in to_rgb(colour))
    return red, green, blue


def signed(number: float) -> str:
    """Return a number as text with a proper minus sign."""
    return f"{number:g}".replace("-", "\u2212")


def counts(axis: Axis) -> None:
    """Show the numbers of an axis as integers with separators of thousands, at whole numbers only."""
    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axis.set_major_formatter("{x:,.0f}")
    axis.set_minor_formatter(NullFormatter())


def ratios(axis: Axis) -> None:
    """Show the numbers of a logarithmic axis, whose limits are final, with separators of thousands.

    They are 1, 2, 5, 10 and so on, or fewer where the axis is long.
    """
    low, high = axis.get_view_interval()
    decades = abs(math.log10(high / low))
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,), numticks=12))
    axis.set_major_formatter("{x:,.10g}")
    axis.set_minor_formatter(NullFormatter())
