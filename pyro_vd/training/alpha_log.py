"""The log of log α in a training, ``log-alpha.jsonl``: one line of JSON per epoch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pyro_vd._core.arguments import check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.reading import plain_json, read_lines, reading
from pyro_vd._core.schema import check_tree
from pyro_vd._core.storage import as_json, write_atomically
from pyro_vd.guides.alpha import site_log_alpha
from pyro_vd.posterior.summary import QUANTILES, quantiles
from pyro_vd.training.callbacks import Callback

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.state import TrainingState

_WHAT = "the log of log α"


class AlphaRecord(TypedDict):
    """The quantiles of log α after an epoch, at :data:`~pyro_vd.posterior.summary.QUANTILES`, by weight site.

    A quantile is None where it is infinite, as it is where θ = 0.
    """

    epoch: int
    log_alpha: dict[str, list[float | None]]


class AlphaLog(Callback):
    """Writes the quantiles of log α of each weight site after every epoch, one line per epoch, atomically.

    After a resumed training the file is that of one that was never interrupted.

    Args:
        path: the file, in a folder that is there when the training starts; a training that starts anew replaces it. With None,
            the lines are only kept in :attr:`records`.

    Raises:
        InputError: when a training is resumed, the file is no such log.
    """

    def __init__(self, path: Path | str | None) -> None:
        self._path = None if path is None else check_path("log", path)
        self.records: list[AlphaRecord] = []
        """One for each epoch that is complete."""

    def on_start(self, state: TrainingState) -> None:
        there = read_alpha_log(self._path) if state.epoch and self._path is not None and self._path.exists() else []
        self.records = [record for record in there if record["epoch"] <= state.epoch]

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        guide = state.guide
        found = {name: list(map(_finite, quantiles(site_log_alpha(guide, name)))) for name in guide.site_names}
        self.records.append({"epoch": record.epoch, "log_alpha": found})
        if self._path is not None:
            write_atomically(self._path, "".join(f"{as_json(each)}\n" for each in self.records).encode())


def read_alpha_log(path: Path) -> list[AlphaRecord]:
    """Read what an :class:`AlphaLog` has written.

    Raises:
        InputError: the log is missing or broken.
    """
    with reading(path, _WHAT):
        found: list[AlphaRecord] = []
        for where, text in read_lines(path, _WHAT):
            check_tree(where, row := plain_json(text), AlphaRecord)
            for site, values in row["log_alpha"].items():
                if len(values) != len(QUANTILES):
                    message = f"{where}: {len(values)} quantiles of {quoted(site)}; there must be {len(QUANTILES)}"
                    raise InputError(message, name=site, value=values, allowed=f"{len(QUANTILES)} numbers")
            found.append(row)
        return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
