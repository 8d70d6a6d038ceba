"""The curves of the training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.score import Score
from pyro_vd.workflow.report_page.chart import Chart, axis, line, log_axis
from pyro_vd.workflow.report_page.section import Section, left_out

TITLE = "Training"


def training_section(history: Sequence[EpochRecord]) -> Section:
    """Make the section from the records of all phases, in order."""
    if not history:
        return left_out("training", TITLE, "There is no record of the epochs.")
    epochs = list(range(1, len(history) + 1))
    phases = [(name, list(group)) for name, group in groupby(zip(epochs, history, strict=True), lambda pair: pair[1].phase)]
    score = Score(history[-1].score_name, 0.0)
    measured = [record.measured for record in history]
    charts = [
        _chart(phases, f"validation {score.label}", [math.nan if each is None else each.shown for each in measured]),
        _chart(phases, "compression", [record.compression for record in history], log=True),
        _chart(phases, "data term, nats", [record.data_term for record in history], log=all(r.data_term > 0 for r in history)),
        _chart(phases, "β · KL, nats", [record.kl * record.kl_weight for record in history]),
    ]
    shown = [chart for chart in charts if chart is not None]
    return Section("training", TITLE, tuple(shown))


def _chart(
    phases: Sequence[tuple[str, Sequence[tuple[int, EpochRecord]]]], name: str, values: Sequence[float], log: bool = False
) -> Chart | None:
    if not any(map(math.isfinite, values)):
        return None
    traces = []
    for place, (phase, records) in enumerate(phases):
        x = [epoch for epoch, _ in records]
        y = [values[epoch - 1] if math.isfinite(values[epoch - 1]) else None for epoch in x]
        mode = "lines" if len(x) > 1 else "markers"
        traces.append({**line(x, y, phase, place), "mode": mode})
    scale = log_axis(name, values) if log else axis(name, rangemode="tozero")
    layout = {"xaxis": axis("epoch, of all phases", tickformat=",d"), "yaxis": scale}
    rows = [
        [phase, len(records), f"{values[records[0][0] - 1]:.4g}", f"{values[records[-1][0] - 1]:.4g}"]
        for phase, records in phases
    ]
    ends = "; ".join(f"{row[0]} from {row[2]} to {row[3]}" for row in rows)
    head = ["phase", "epochs", "after its first epoch", "after its last epoch"]
    return Chart(f"{name} over the epochs: {ends}.", traces, layout, "", head, rows, height=300, is_half=True)
