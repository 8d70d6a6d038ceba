"""Labels of curves and points: names as they are, and beside the curve instead of in a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes

from pyro_vd.plots.style import MUTED, PAPER, SMALL, darker


def plain(text: str) -> str:
    """Return text, such as the name of a folder, as a label that matplotlib shows as it is: ``$`` begins no formula.

    A legend leaves out labels that begin with ``_``: before it stands a space without width.
    What is no Unicode, as in names of files in other encodings, is replaced.
    """
    shown = text.encode("utf-8", "replace").decode().replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


@dataclass(frozen=True)
class Label:
    """A label of a point, such as the last one of a curve.

    Attributes:
        x, y: the point.
        text: the label, as :func:`plain` gives it.
        colour: of the curve.
    """

    x: float
    y: float
    text: str
    colour: str


def label_ends(axes: Axes, labels: Sequence[Label]) -> None:
    """Write labels at the right of the axes, each as high as its point and below one another; thin lines join them.

    Args:
        axes: where the curves are; their scales and limits must be final.
        labels: one per curve.
    """
    if not labels:
        return
    axes.autoscale_view()
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    to_axes = axes.transScale + axes.transLimits
    ordered = sorted(labels, key=lambda label: to_axes.transform((label.x, label.y))[1])
    wanted = [min(1.0, max(0.0, to_axes.transform((label.x, label.y))[1])) for label in ordered]
    figure = axes.get_figure()
    assert figure is not None
    height = 72 * figure.get_figheight() * axes.get_position().height  # type: ignore[union-attr]
    lines = 1 + max(label.text.count("\n") for label in labels)
    for label, place in zip(ordered, apart(wanted, (1.25 * lines + 0.1) * SMALL / height), strict=True):
        _write(axes, label, (1.04, place), va="center")


def label_below(axes: Axes, labels: Sequence[Label]) -> None:
    """Write labels in a row at the lower end of the axes, each below its point or beside another one; thin lines join them.

    Args:
        axes: where the points are; their scales and limits must be final.
        labels: one per point, each of one or two lines.
    """
    to_axes = axes.transScale + axes.transLimits
    ordered = sorted(labels, key=lambda label: label.x)
    wanted = [to_axes.transform((label.x, label.y))[0] for label in ordered]
    figure = axes.get_figure()
    assert figure is not None
    letters = max((len(line) for label in labels for line in label.text.split("\n")), default=0)
    width = 72 * figure.get_figwidth() * axes.get_position().width  # type: ignore[union-attr]
    for label, place in zip(ordered, apart(wanted, 0.6 * SMALL * letters / width), strict=True):
        _write(axes, label, (place, 0.03), ha="center", bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1})


def _write(axes: Axes, label: Label, place: tuple[float, float], **style: Any) -> None:
    """Write a label at a place, in shares of the axes, and join it to its point."""
    axes.annotate(
        label.text,
        (label.x, label.y),
        place,
        textcoords="axes fraction",
        fontsize=SMALL,
        color=darker(label.colour),
        annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3},
        **style,
    )


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Move rising places as little as is needed to have ``gap`` between them; they may leave [0, 1] if there are many."""
    groups: list[tuple[float, int]] = []  # the sum of the centres that their members want, and their number
    for place in places:
        groups.append((place, 1))
        while len(groups) > 1 and _centre(groups[-1]) - _centre(groups[-2]) < gap * (groups[-1][1] + groups[-2][1]) / 2:
            (first, many), (second, more) = groups[-2:]
            groups[-2:] = [(first + second, many + more)]
    found = [_centre(group) + gap * (place - (group[1] - 1) / 2) for group in groups for place in range(group[1])]
    assert all(high - low > gap * 0.999 for low, high in pairwise(found))
    return found


def _centre(group: tuple[float, int]) -> float:
    return group[0] / group[1]
