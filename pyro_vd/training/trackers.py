"""Callbacks that hand the numbers of every epoch to a tracker of experiments: TensorBoard, MLflow, Weights & Biases."""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_vd._core.arguments import check_path
from pyro_vd._core.extras import check_installed
from pyro_vd.training.callbacks import Callback

if TYPE_CHECKING:
    from pyro_vd.evaluation.epoch_record import EpochRecord
    from pyro_vd.training.state import TrainingState


def numbers_of(record: EpochRecord) -> dict[str, float]:
    """The numbers of an epoch by name, without its own number; the score is named as in ``validation_error``."""
    numbers = {name: value for name, value in asdict(record).items() if isinstance(value, int | float)}
    del numbers["epoch"]
    if "score" in numbers:
        numbers[f"validation_{record.score_name}"] = numbers.pop("score")
    return numbers


def settings_of(state: TrainingState) -> dict[str, str]:
    """The settings of a training as text, by name."""
    return {each.name: str(getattr(state.spec, each.name)) for each in fields(state.spec)}


class TensorBoard(Callback):
    """Writes the numbers of every epoch as event files, into a folder per phase, such as ``folder/train``.

    In a resumed training, epochs that were written after the last checkpoint are written again; TensorBoard shows them once. A
    training that starts anew replaces what is shown of its phase.

    Args:
        folder: made if it is not there.

    Raises:
        MissingPackageError: tensorboard is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        check_installed("TensorBoard", "tensorboard")
        self._folder = check_path("folder", folder)

    def on_start(self, state: TrainingState) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder / state.spec.phase), purge_step=state.epoch + 1)
        if not state.history:
            self._writer.add_text("settings", "\n\n".join(f"{name}: {text}" for name, text in settings_of(state).items()), 0)

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        for name, number in numbers_of(record).items():
            self._writer.add_scalar(name, number, record.epoch)
        self._writer.flush()

    def on_end(self, state: TrainingState) -> None:
        self._writer.close()


class MLflow(Callback):
    """Logs the settings and the numbers of every epoch, with the phase before each name, such as ``train/loss``.

    Args:
        run_id: the run that is continued, such as that of a training that is resumed. None is the active run, where there is
            one; otherwise a new run, which ends with the training.
        experiment: name of the experiment of a new run, made if it is not there; None is MLflow's default.
        run_name: name of a new run.
        tracking_uri: where to log; None is where MLflow logs by default.

    Attributes:
        run_id: of the run that was logged to, from the start of the training on.

    Raises:
        MissingPackageError: neither mlflow-skinny nor mlflow is installed.
    """

    def __init__(
        self,
        run_id: str | None = None,
        *,
        experiment: str | None = None,
        run_name: str | None = None,
        tracking_uri: str | None = None,
    ) -> None:
        check_installed("MLflow", "mlflow-skinny")
        self.run_id = run_id
        self._experiment, self._run_name, self._tracking_uri = experiment, run_name, tracking_uri
        self._ends_run = False

    def on_start(self, state: TrainingState) -> None:
        import mlflow

        self._client = mlflow.MlflowClient(self._tracking_uri)
        if self.run_id is None and (active := mlflow.active_run()) is not None:
            self.run_id = active.info.run_id
        elif self.run_id is None:
            self.run_id, self._ends_run = self._new_run(), True
        for name, text in settings_of(state).items():
            self._client.log_param(self.run_id, f"{state.spec.phase}/{name}", text[:500])

    def _new_run(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment or "Default")
        number = self._client.create_experiment(self._experiment or "Default") if found is None else found.experiment_id
        run_id: str = self._client.create_run(number, run_name=self._run_name).info.run_id
        return run_id

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        numbers = numbers_of(record).items()
        metrics = [Metric(f"{record.phase}/{name}", float(number), now, record.epoch) for name, number in numbers]
        self._client.log_batch(self.run_id, metrics)

    def on_end(self, state: TrainingState) -> None:
        if self._ends_run:
            self._client.set_terminated(self.run_id, "FINISHED" if state.is_complete else "FAILED")


class WandB(Callback):
    """Logs the settings and the numbers of every epoch to Weights & Biases, with the phase before each name.

    An active run is used where there is one; otherwise a run is started, and ended with the training.

    Args:
        settings: arguments of ``wandb.init``, such as ``project``, ``name``, ``mode="offline"``; for a training that is resumed
            ``id`` and ``resume="allow"``.

    Raises:
        MissingPackageError: wandb is not installed.
    """

    def __init__(self, **settings: Any) -> None:
        check_installed("WandB", "wandb")
        self._settings = settings

    def on_start(self, state: TrainingState) -> None:
        import wandb

        self._ends_run = wandb.run is None
        self._run = wandb.init(**self._settings) if wandb.run is None else wandb.run
        phase = state.spec.phase
        self._run.config.update({phase: settings_of(state)}, allow_val_change=True)
        self._run.define_metric(f"{phase}/*", step_metric=f"{phase}/epoch")

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        numbers = {"epoch": record.epoch, **numbers_of(record)}
        self._run.log({f"{record.phase}/{name}": number for name, number in numbers.items()})

    def on_end(self, state: TrainingState) -> None:
        if self._ends_run:
            self._run.finish(exit_code=0 if state.is_complete else 1)
