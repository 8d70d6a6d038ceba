"""Pictures of error against size, one function each, which returns a matplotlib Figure without global state."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from torch import Tensor

from pyro_vd.evaluation.deployed import kilobytes
from pyro_vd.evaluation.score import Score
from pyro_vd.plots.drawing import draw_mask
from pyro_vd.plots.figure import Figure
from pyro_vd.plots.labels import Label, label_below, label_ends, plain
from pyro_vd.plots.style import COLOURS, INK, MARKERS, MUTED, PAPER, SMALL, darker, ratios, styled


@dataclass(frozen=True)
class Deployed:
    """What is deployed of one run, and how wrong it is.

    Attributes:
        bytes: the size of its file.
        score: on test data.
        interval: the interval of 95 % of the score's value over other examples.
    """

    bytes: int
    score: Score
    interval: tuple[float, float]


@styled()
def before_and_after(before: Sequence[Deployed], after: Sequence[Deployed], masks: Mapping[str, Tensor]) -> Figure:
    """Show the error against the size of the file, before and after pruning, beside the weights that are left.

    Args:
        before: the networks before pruning, one per seed; at least one.
        after: the same after pruning.
        masks: by site, True for a weight that is left, of one seed.
    """
    figure = Figure(figsize=(9, max(4.2, 1.3 * len(masks))), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.15, 1), wspace=0.04)[0]
    axes = left.subplots()
    middles: list[tuple[float, float]] = []
    for networks, name, colour, marker in ((before, "before", MUTED, "s"), (after, "after", COLOURS[0], "o")):
        size, error = (statistics.mean(part) for part in zip(*map(_numbers, networks), strict=True))
        for place, network in enumerate(networks):
            beside = 1.12 ** (place - (len(networks) - 1) / 2)  # seeds stand side by side, or they would hide one another
            _with_interval(axes, network, beside * network.bytes / 1000, colour, marker)
        text = f"{name}\n{Score(networks[0].score.name, error)}\n{kilobytes(round(size))}"
        if middles:
            text += f"\n{1000 * middles[0][0] / size:.3g} times smaller"
        ends = [Score(network.score.name, end).shown for network in networks for end in network.interval]
        shown = Score(networks[0].score.name, error).shown
        is_below = bool(middles) and middles[0][1] / 2 < shown < middles[0][1]  # the arrow comes from above, and there is room
        where: dict[str, Any] = {
            "ha": "center",
            "textcoords": "offset points",
            "color": darker(colour),
            "fontsize": 9.5,
            "bbox": _CLEAR,
        }
        if is_below:
            axes.annotate(text, (size / 1000, min(ends)), (0, -7), va="top", **where)
        else:
            axes.annotate(text, (size / 1000, max(ends)), (0, 7), **where)
        middles.append((size / 1000, shown))
    axes.annotate("", middles[1], middles[0], arrowprops={"arrowstyle": "->", "color": MUTED, "shrinkA": 22, "shrinkB": 22})
    sizes = [network.bytes / 1000 for network in (*before, *after)]
    axes.set(xscale="log", xlim=(min(sizes) / 4, max(sizes) * 4), xlabel="size of the file, kB")
    ends = [Score(each.score.name, end).shown for each in (*before, *after) for end in each.interval]
    axes.set(ylim=(0, max(ends) * 1.45), ylabel=_test_label(before[0].score))
    ratios(axes.xaxis)
    axes.grid(axis="y")
    seeds = f", {len(before)} seeds" if len(before) > 1 else ""
    axes.set_title(f"error against the deployed file{seeds}; 95 % intervals")
    grid = right.subplots(len(masks), 1, squeeze=False, height_ratios=[3] + [2] * (len(masks) - 1))
    for (name, mask), own in zip(masks.items(), grid[:, 0], strict=True):
        draw_mask(own, mask)
        left_over = f"{int(mask.count_nonzero()):,} of {mask.numel():,} weights left"
        line, lines = f"{name}: {left_over}", f"{textwrap.fill(name, _LETTERS)}:\n{left_over}"
        own.set_title(plain(line if len(line) <= _LETTERS else lines), fontsize=9.5)
        if own is not grid[-1, 0] and mask.ndim == [*masks.values()][-1].ndim:
            own.set_xlabel("")
    return figure


def _numbers(network: Deployed) -> tuple[int, float]:
    return network.bytes, network.score.value


def _with_interval(axes: Axes, network: Deployed, x: float, colour: str, marker: str) -> None:
    shown = network.score.shown
    low, high = (Score(network.score.name, end).shown for end in network.interval)
    bar = [[shown - low], [high - shown]]
    axes.errorbar([x], [shown], bar, fmt=marker, color=colour, markersize=5, capsize=2, elinewidth=1)


@styled()
def error_against_compression(configurations: Mapping[str, Sequence[tuple[float, Score]]]) -> Figure:
    """Show test error against compression, with one colour per configuration; the best are at the bottom right.

    Each run is a small point, and the mean over the seeds of a configuration a large one.

    Args:
        configurations: compression and score of each run, by configuration. A network without a weight has an infinite
            compression, and is shown as a triangle at the right edge; one whose error is not finite, as one at the upper edge.
    """
    scores = [score for runs in configurations.values() for _, score in runs]
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots()
    finite = [compression for runs in configurations.values() for compression, _ in runs if math.isfinite(compression)]
    edge, top = 2 * max(finite, default=1.0), 1.2 * max((s.shown for s in scores if math.isfinite(s.shown)), default=1.0)
    axes.set_xscale("log" if edge > 8 * min(finite, default=1.0) else "linear")
    labels = []
    for (name, runs), colour, marker in zip(configurations.items(), cycle(COLOURS), cycle(MARKERS)):
        x = [compression if math.isfinite(compression) else edge for compression, _ in runs]
        y = [score.shown if math.isfinite(score.shown) else top for _, score in runs]
        empty = any(not math.isfinite(compression) for compression, _ in runs)
        wrong = any(not math.isfinite(score.shown) for _, score in runs)
        if len(runs) > 1:
            axes.plot(x, y, linestyle="", marker=marker, color=colour, markersize=4, alpha=0.55, markeredgewidth=0)
        mean = statistics.mean(x), statistics.mean(y)
        axes.plot(
            *mean,
            linestyle="",
            marker=">" if empty else "^" if wrong else marker,
            color=colour,
            markersize=9,
            markeredgecolor=INK,
        )
        seeds = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
        remark = " (no weight left)" if empty else " (error not finite)" if wrong else ""
        labels.append(Label(*mean, f"{plain(name)}{seeds}{remark}", colour))
    axes.margins(0.12)
    if axes.get_xscale() == "log":
        ratios(axes.xaxis)
    else:
        axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.set(xlabel="compression, |W| / |W kept|", title="test error against compression")
    axes.set_ylabel(", ".join(dict.fromkeys(map(_test_label, scores))))
    axes.grid()
    label_ends(axes, labels)
    return figure


def _test_label(score: Score) -> str:
    return f"test {score.label.replace(' %', ', %')}"


@styled()
def tradeoff(
    by_threshold: Sequence[tuple[float, float, float]],
    by_weight: Sequence[tuple[float, float, float]],
    published: Mapping[str, tuple[float, float]],
    sizes: Sequence[str],
    threshold: float,
) -> Figure:
    """Show test error against compression: two curves of pruned networks, and published results.

    Args:
        by_threshold: threshold, compression and error in % of networks from one training.
        by_weight: KL weight, compression and error in % of networks from one training each.
        published: compression and error in % of published results, by label.
        sizes: the file sizes of the networks of ``by_weight``, as texts.
        threshold: of the networks of ``by_weight``.
    """
    figure = Figure(figsize=(8.4, 5), layout="constrained")
    axes = figure.subplots()
    for points, label, colour, marker in (
        (by_threshold, "one training at β = 1, several thresholds on log α", COLOURS[0], "."),
        (by_weight, f"one training for each KL weight β, threshold {threshold:g}", COLOURS[5], "s"),
    ):
        ordered = sorted((c, e) for _, c, e in points if math.isfinite(c))
        axes.plot([c for c, _ in ordered], [e for _, e in ordered], color=colour, marker=marker, label=label)
    for label, (smaller, error) in published.items():
        axes.plot(smaller, error, linestyle="", marker="D", markersize=6, color=INK, fillstyle="none", label=f"_{label}")
    errors = [e for _, _, e in [*by_threshold, *by_weight]]
    highest = min(max(errors), 4 * min(errors))
    shown = [c for _, c, e in [*by_threshold, *by_weight] if e <= highest and math.isfinite(c)]
    shown += [c for c, _ in published.values()]
    axes.set(xlabel="compression, |W| / |W kept|", ylabel="test error, %", xscale="log")
    axes.set(ylim=(0, highest * 1.05), xlim=(min(shown) / 1.3, max(shown) * 1.5))
    ratios(axes.xaxis)
    axes.grid(axis="y")
    label_below(axes, [Label(*point, label.replace(" (", "\n("), INK) for label, point in published.items()])
    named = {c: f"β {value:g}\n{size}".rstrip() for (value, c, _), size in zip(by_weight, sizes, strict=True) if c in shown}
    above = axes.secondary_xaxis("top")
    above.set_xticks(list(named), list(named.values()), fontsize=SMALL, color=darker(COLOURS[5]))
    above.minorticks_off()
    axes.vlines(list(named), 0, 1, transform=axes.get_xaxis_transform(), color=COLOURS[5], linewidth=0.5, linestyle=":")
    figure.legend(loc="outside upper left", ncols=1)
    return figure


_LETTERS = 46
"""The letters of a line that fit above the weights of a layer."""
_CLEAR = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
