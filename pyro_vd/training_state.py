"""All that a training needs to go on where it stopped, and its log."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyro_vd.checks import check_state
from pyro_vd.errors import InputError
from pyro_vd.guard import NonFiniteGuard
from pyro_vd.messages import one_line
from pyro_vd.storage import as_json, load_checkpoint, save_checkpoint, write_atomically


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: a line of ``metrics.jsonl``. Losses are means over the epoch's steps, in nats, for the whole data set."""

    phase: str
    """Which training of a run this is."""
    epoch: int
    """Counted from 1."""
    loss: float
    """Data term + β · KL."""
    data_term: float
    """−Σ log p(y|x, w), scaled to all the data."""
    kl: float
    """KL(q‖p), not weighted."""
    kl_weight: float
    """β at the epoch's last step."""
    lr: float
    """Learning rate at the epoch's last step."""
    error: float | None
    """Share of wrong validation predictions of the network as it would be pruned now; None without validation data."""
    compression: float
    """|W| / |W ≠ 0| of that network; infinite, in the log null, where no weight is left."""
    skipped: int
    """Non-finite steps since the start of the training."""
    seconds: float
    """Time this epoch took."""
    is_rmse: bool = False
    """Whether ``error`` is the root mean square error instead, in the unit of the numbers that are predicted."""


@dataclass
class TrainingState:
    """The parts of a training that change, saved together after every epoch.

    Attributes:
        module: model and guide.
        optimizer: with its moments.
        shuffle: the generator of the batches' order.
        guard: with its counts of skipped steps.
        settings: what must be equal for a checkpoint to fit.
        history: the epochs so far.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    shuffle: torch.Generator
    guard: NonFiniteGuard
    settings: dict[str, Any]
    checkpoint: Path | None
    log: Path | None
    history: list[EpochRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, path in (("checkpoint", self.checkpoint), ("log", self.log)):
            if path is not None and not path.parent.is_dir():
                raise InputError(f"{name} (={str(path)!r}): there is no folder {str(path.parent)!r}; make it first")
        self._other_phases = self._read_log()

    def add(self, record: EpochRecord) -> None:
        """An epoch has ended: write checkpoint, then log."""
        self.history.append(record)
        if self.checkpoint is not None:
            save_checkpoint(self.checkpoint, self._state())
        self._write_log()

    def restore(self) -> None:
        """Go back to the checkpoint, if there is one.

        Raises:
            InputError: the file is broken, or belongs to a training with other settings or another network.
        """
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        state = load_checkpoint(self.checkpoint)
        try:
            self._take(state)
        except InputError:
            raise
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"{self.checkpoint} is corrupt: {one_line(error)}") from error
        self._write_log()

    def _take(self, state: dict[str, Any]) -> None:
        saved = {**self.settings, **state["settings"]}  # an earlier version has fewer
        if different := [key for key, value in self.settings.items() if saved[key] != value]:
            listed = ", ".join(f"{key} {saved[key]!r}, now {self.settings[key]!r}" for key in different)
            raise InputError(f"{self.checkpoint} is of another training: {listed}")
        check_state(str(self.checkpoint), state["module"], self.module)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.shuffle.set_state(state["shuffle"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.guard.skipped, self.guard.in_a_row = state["guard"]
        self.guard.start()
        self.history = [EpochRecord(**record) for record in state["history"]]

    def _state(self) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "shuffle": self.shuffle.get_state(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None,
            "guard": [self.guard.skipped, self.guard.in_a_row],
            "history": [asdict(record) for record in self.history],
        }

    def _read_log(self) -> list[str]:
        """The log's lines of other phases; a phase that starts anew replaces its own."""
        if self.log is None or not self.log.exists():
            return []
        try:
            lines = self.log.read_text().splitlines()
            return [line for line in lines if json.loads(line)["phase"] != self.settings["phase"]]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.log} is no log of a training: {error!r}") from error

    def _write_log(self) -> None:
        if self.log is not None:
            lines = self._other_phases + [as_json(asdict(record)) for record in self.history]
            write_atomically(self.log, "".join(f"{line}\n" for line in lines).encode())
