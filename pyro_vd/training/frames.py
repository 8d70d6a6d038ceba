"""A callback that records the pruned network again and again while it is trained, for an animation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyro_vd._core.arguments import check_number, check_path
from pyro_vd._core.storage import clear_temporaries
from pyro_vd.data.dataset import Arrays
from pyro_vd.networks.inputs import num_examples, rows, to_device
from pyro_vd.training.callbacks import Callback
from pyro_vd.training.frame_files import Frame, frame_of, write_frames

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.state import TrainingState

EXAMPLES = 500
"""The most examples that are measured per frame: all of them would cost more than the training between two frames."""


class FrameRecorder(Callback):
    """Records the pruned network as int8, its score and its size at equal distances while :func:`~pyro_vd.fit` runs.

    One file per epoch is written, atomically, before that epoch's checkpoint: a training that was killed and is resumed writes
    the epoch that was interrupted once more, and ends with the same files as one that was not. Nothing random is drawn.

    Args:
        folder: made if it is not there; files of the same epochs in it are replaced.
        frames_per_epoch: at least 1; at most one per step is recorded.
        data: inputs and observations, of which the first :data:`EXAMPLES` are measured at every frame.
        measured_on: what the data are, for the title, such as "validation".

    Raises:
        InputError: ``frames_per_epoch`` below 1.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path | str, frames_per_epoch: int, data: Arrays, measured_on: str) -> None:
        self._folder = check_path("folder", folder)
        self._per_epoch = check_number("frames_per_epoch", frames_per_epoch, low=1, whole=True)
        self._data = rows(data, slice(EXAMPLES))
        self._measured_on = f"{num_examples(self._data[0])} {measured_on} examples"
        self._taken: list[Frame] = []

    def on_start(self, state: TrainingState) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        clear_temporaries(self._folder)
        self._data = to_device(self._data, state.device)
        self._taken = []
        if state.epoch == 0:
            self._take(state)
            self._write(0)

    def on_step(self, state: TrainingState) -> None:
        steps = len(state.batches)
        if state.step * self._per_epoch // steps > (state.step - 1) * self._per_epoch // steps:
            self._take(state)

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        self._write(record.epoch)

    def _take(self, state: TrainingState) -> None:
        likelihood = state.guide.model.observed
        self._taken.append(frame_of(state.network(), state.now, self._data, likelihood, self._measured_on))

    def _write(self, epoch: int) -> None:
        write_frames(self._folder, epoch, self._taken)
        self._taken = []
