"""The log of a training, ``metrics.jsonl``: one line of JSON per epoch."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_vd._core.arguments import check_file
from pyro_vd._core.reading import plain_json, read_lines, reading
from pyro_vd._core.schema import check_tree
from pyro_vd._core.storage import as_json, write_atomically
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.training.callbacks import Callback

if TYPE_CHECKING:
    from pyro_vd.training.state import TrainingState

_LOST = {"loss": math.nan, "data_term": math.nan, "kl": math.nan, "compression": math.inf}
"""Fields whose value may not be finite; JSON has null for it."""


class MetricsLog(Callback):
    """Writes one line per epoch, an :class:`~pyro_vd.evaluation.epoch_record.EpochRecord` as JSON, atomically.

    Lines of other phases in the file are kept; a phase that starts anew replaces its own lines. After a resumed training the
    file is that of one that was never interrupted.

    Args:
        path: the file; its folder must be there.

    Raises:
        InputError: the folder is missing, the path is not that of a file, or, when the training starts, the file is not a log.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = check_file("log", path)
        self._other_phases: list[str] = []

    def on_start(self, state: TrainingState) -> None:
        lines = read_log(self._path) if self._path.exists() else []
        self._other_phases = [line for line, record in lines if record.phase != state.spec.phase]
        if state.history:
            self._write(state)

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        self._write(state)

    def _write(self, state: TrainingState) -> None:
        lines = self._other_phases + [as_json(asdict(record)) for record in state.history]
        write_atomically(self._path, "".join(f"{line}\n" for line in lines).encode())


def read_log(path: Path) -> list[tuple[str, EpochRecord]]:
    """Read the lines of a log, of all phases in order: each as text, and as the record that it holds.

    Raises:
        InputError: the log is missing or broken.
    """
    with reading(path, what := "the log of a training"):
        return [(text, record_of(where, plain_json(text))) for where, text in read_lines(path, what) if text]


def record_of(where: str, row: Any) -> EpochRecord:
    """The record of an epoch from a line of a log, or from a checkpoint; ``where`` is for messages.

    Raises:
        InputError: a key is missing, unknown or of another type.
    """
    given = row if isinstance(row, dict) else {}
    lost = {key: value for key, value in _LOST.items() if key in given and _is_lost(given[key])}
    if isinstance(score := given.get("score"), float) and not math.isfinite(score):
        lost["score"] = score  # of a network whose predictions are not finite; in a log it is null
    check_tree(where, {**row, **dict.fromkeys(lost, 0.0)} if given else row, EpochRecord)
    return EpochRecord(**{**row, **lost})


def _is_lost(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
