"""Pictures of a training, one function each, which returns a matplotlib Figure without global state."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.plots.figure import Figure
from pyro_vd.plots.style import COLOURS, INK, counts, ratios, styled


@styled()
def training_curves(history: Sequence[EpochRecord]) -> Figure:
    """Show the loss, the score on validation data and the compression of the pruned network over the epochs.

    Args:
        history: the records of a training, as :func:`~pyro_vd.fit` returns them; at least one.

    Raises:
        InputError: there is no record.
    """
    if not history:
        raise InputError(name="history", value=len(history), allowed="the records of at least one epoch")
    figure = Figure(figsize=(9, 3), layout="constrained")
    loss, score, size = figure.subplots(1, 3)
    epochs = [record.epoch for record in history]
    for values, label, colour, dashes in (
        ([record.loss for record in history], "loss", INK, "-"),
        ([record.data_term for record in history], "data term", COLOURS[5], ":"),
        ([record.kl for record in history], "KL", COLOURS[0], "--"),
    ):
        loss.plot(epochs, values, color=colour, linestyle=dashes, label=label)
    loss.set_title("loss and its terms, nats")
    if min(min(record.loss, record.data_term) for record in history) > 0:
        loss.set_yscale("log")
        ratios(loss.yaxis)
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    measured = [(record.epoch, record.measured) for record in history if record.measured is not None]
    if measured:
        score.plot([epoch for epoch, _ in measured], [found.shown for _, found in measured], color=COLOURS[0])
        score.set(title=f"validation {measured[-1][1].label.replace(' %', ', %')}", ylim=(0, None))
    else:
        _say(score, "no validation data")
    finite = [(record.epoch, record.compression) for record in history if math.isfinite(record.compression)]
    if finite:
        size.plot([epoch for epoch, _ in finite], [number for _, number in finite], color=COLOURS[2])
        size.set(title="compression, |W| / |W kept|", yscale="log", ylim=(min(0.9, *(n for _, n in finite)), None))
        ratios(size.yaxis)
    else:
        _say(size, "no weight left")
    for axes in (loss, score, size):
        axes.set(xlabel="epoch")
        counts(axes.xaxis)
    return figure


def _say(axes: Axes, text: str) -> None:
    axes.set(yticks=[])
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
