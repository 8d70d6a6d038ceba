"""All that a training needs to go on where it stopped, and its log."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.reading import MOST_JSON, plain_json, read_text, reading
from pyro_vd._core.schema import check_tree
from pyro_vd._core.storage import as_json, load_checkpoint, save_checkpoint, write_atomically
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.networks.checks import check_state
from pyro_vd.training.guard import NonFiniteGuard
from pyro_vd.training.optimizer_state import check_kind, check_optimizer_state

_LOST = {"loss": math.nan, "data_term": math.nan, "kl": math.nan, "compression": math.inf}
"""What may be no finite number; JSON has null for it."""


def record_of(where: str, row: Any) -> EpochRecord:
    """An epoch from a line of a log, or from a checkpoint; ``where`` is for messages.

    Raises:
        InputError: a key is missing, unknown or of another type.
    """
    given = row if isinstance(row, dict) else {}
    lost = {key: value for key, value in _LOST.items() if key in given and _is_lost(given[key])}
    check_tree(where, {**row, **dict.fromkeys(lost, 0.0)} if given else row, EpochRecord)
    return EpochRecord(**{**row, **lost})


def _is_lost(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def read_log(path: Path) -> list[tuple[str, EpochRecord]]:
    """The lines of a log, of all phases in order, as they are and as what they say.

    Raises:
        InputError: the log is missing or broken.
    """
    with reading(path, what := "the log of a training"):
        lines = read_text(path, what, MOST_JSON).split("\n")
        return [(line, record_of(f"{path}, line {n}", plain_json(line))) for n, line in enumerate(lines, 1) if line]


class _Checkpoint(TypedDict):
    settings: dict[str, Any]
    module: dict[str, Tensor]
    optimizer: dict[str, Any]
    shuffle: Tensor
    rng: Tensor
    cuda_rng: list[Tensor] | None
    guard: list[int]
    history: list[dict[str, Any]]


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
            if path is not None and path.exists() and not path.is_file():
                raise InputError(f"{name} (={str(path)!r}) is there and no file; give the path of a file")
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
        with reading(self.checkpoint, "a checkpoint of this training"):
            self._take(state)
        self._write_log()

    def _take(self, state: dict[str, Any]) -> None:
        """Check all of a checkpoint, then load it."""
        where = str(self.checkpoint)
        check_tree(where, state, _Checkpoint)
        saved = {**self.settings, **state["settings"]}  # an earlier version has fewer
        if different := [key for key, value in self.settings.items() if saved[key] != value]:
            listed = ", ".join(f"{key} {quoted(saved[key], 300)}, now {quoted(self.settings[key], 300)}" for key in different)
            raise InputError(f"{where} is of another training: {listed}")
        check_state(where, state["module"], self.module)
        for name, like in self.module.state_dict().items():
            check_kind(f"{where}: {name}", state["module"][name], like)
        check_optimizer_state(where, state["optimizer"], self.optimizer)
        for generator in ("shuffle", "rng"):
            check_kind(f"{where}: {generator}", state[generator], self.shuffle.get_state())
            torch.Generator().set_state(state[generator])  # refuses what is no state
        on_gpu = torch.cuda.get_rng_state_all() if state["cuda_rng"] is not None and torch.cuda.is_available() else []
        for own, found in zip(on_gpu, state["cuda_rng"] or [], strict=bool(on_gpu)):
            check_kind(f"{where}: cuda_rng", found, own)
        history = [record_of(f"{where}: history.{number}", row) for number, row in enumerate(state["history"])]
        phase, epochs = self.settings["phase"], [record.epoch for record in history]
        if epochs != list(range(1, len(history) + 1)) or any(record.phase != phase for record in history):
            raise InputError(f"{where}: history must hold the epochs of {phase!r}, from 1 on")
        skipped, in_a_row = state["guard"]
        if not history or not 0 <= in_a_row <= skipped == history[-1].skipped:
            raise InputError(
                name=f"{where}: guard", value=state["guard"], allowed="the skipped steps so far, and those in a row"
            )
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.shuffle.set_state(state["shuffle"])
        torch.set_rng_state(state["rng"])
        if on_gpu:
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.guard.skipped, self.guard.in_a_row = skipped, in_a_row
        self.guard.start()
        self.history = history

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
        return [line for line, record in read_log(self.log) if record.phase != self.settings["phase"]]

    def _write_log(self) -> None:
        if self.log is not None:
            lines = self._other_phases + [as_json(asdict(record)) for record in self.history]
            write_atomically(self.log, "".join(f"{line}\n" for line in lines).encode())
