"""The checkpoint of a training: everything that is needed to resume it, in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from pyro_vd._core.arguments import check_file, check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.reading import reading
from pyro_vd._core.schema import check_tree
from pyro_vd._core.storage import fits_checkpoint, load_checkpoint, save_checkpoint
from pyro_vd.data.batches import StatefulBatches
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.networks.checks import check_state
from pyro_vd.training.best_epoch import best_epoch
from pyro_vd.training.kl_control import ControlState
from pyro_vd.training.metrics_log import record_of
from pyro_vd.training.optimizer_state import first_step, optimizer_state_in
from pyro_vd.training.own_state import OwnState, check_own, generator_state_in, own_state, restore_own
from pyro_vd.training.processes import Processes
from pyro_vd.training.scheduler import check_scheduler_state
from pyro_vd.training.shrinking import ShrinkingState
from pyro_vd.training.state import TrainingState
from pyro_vd.training.state_forms import check_kind


class _Saved(TypedDict):
    settings: dict[str, Any]
    module: dict[str, Tensor]
    best: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    scheduler: dict[str, Any] | None
    shuffle: Tensor
    batches: NotRequired[dict[str, Any]]
    shrinking: NotRequired[ShrinkingState]
    control: NotRequired[ControlState]
    rng: Tensor
    cuda_rng: list[Tensor] | None
    guard: list[int]
    history: list[dict[str, Any]]
    others: NotRequired[list[OwnState]]


class Checkpoint:
    """A file that holds the state of a training after its last complete epoch.

    Args:
        path: the file; its folder must be there.
        settings: the fingerprint of the training, which must be equal for the file to be restored.
        processes: those that train together, of which the one of rank 0 writes and reads the file.

    Raises:
        InputError: the folder is missing, or the path is not that of a file.
    """

    def __init__(self, path: Path | str, settings: dict[str, Any], processes: Processes) -> None:
        self.path: Path = check_file("checkpoint", path) if processes.is_first else check_path("checkpoint", path)
        self.settings: dict[str, Any] = settings
        self._processes = processes

    def try_out(self, state: TrainingState) -> None:
        """Refuse an optimizer or a scheduler of the user's own whose state a file cannot hold, before the first step.

        Raises:
            InputError: naming it.
        """
        parts: dict[str, Any] = {} if state.spec.optimizer is None else {"optimizer": first_step(state.optimizer)}
        parts |= {} if state.scheduler is None else {"scheduler": state.scheduler.state_dict()}
        for name, part in parts.items():
            if not fits_checkpoint(part):
                raise InputError(
                    f"{name} (={quoted(getattr(state.spec, name))}) has a state that a checkpoint cannot hold: it must be of "
                    "numbers, text, tensors, lists and mappings, or be used without a checkpoint",
                    name=name,
                    value=getattr(state.spec, name),
                    allowed="one with a state of numbers, text, tensors, lists and mappings",
                )

    def save(self, state: TrainingState) -> None:
        """Write the state, atomically."""
        others = self._processes.exchange(None if self._processes.is_first else own_state(state))[1:]
        if not self._processes.is_first:
            return
        content: dict[str, Any] = {
            "settings": self.settings,
            "module": state.whole.state_dict(),
            "best": state.best and state.best.values,
            "optimizer": state.optimizer.state_dict(),
            "scheduler": state.scheduler and state.scheduler.state_dict(),
            "shuffle": state.shuffle.get_state(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None,
            "guard": [state.guard.skipped, state.guard.in_a_row],
            "history": [asdict(record) for record in state.history],
        }
        if state.shrinking is not None:
            content["shrinking"] = state.shrinking.state_dict()
        if state.control is not None:
            content["control"] = state.control.state_dict()
        if isinstance(state.batches, StatefulBatches):
            content["batches"] = state.batches.state_dict()
        if others:
            content["others"] = others
        save_checkpoint(self.path, content)

    def restore(self, state: TrainingState) -> None:
        """Load the file, if it is there, into ``state`` and torch's generators, after all of it has been checked.

        Raises:
            InputError: the file is broken, or belongs to a training with other settings or another network.
        """
        saved = self._processes.of_first(lambda: load_checkpoint(self.path) if self.path.exists() else None)
        if saved is None:
            return
        with reading(self.path, "a checkpoint of this training"):
            history, on_gpu = self._check(saved, state)
            state.optimizer.load_state_dict(saved["optimizer"])
            if state.scheduler is not None:
                state.scheduler.load_state_dict(saved["scheduler"])
            state.shuffle.set_state(saved["shuffle"])
            torch.set_rng_state(saved["rng"])
            if on_gpu:
                torch.cuda.set_rng_state_all(saved["cuda_rng"])
            restore_own(state, saved.get("batches"), saved.get("others", []))
            state.whole.load_state_dict(saved["module"])  # which cannot fail: what is of the user's own, above, may
            if state.best is not None:
                state.best.values = saved["best"]
            if state.shrinking is not None:
                state.shrinking.resume(state)
            state.guard.skipped, state.guard.in_a_row = saved["guard"]
            state.guard.start()
            state.history[:] = history

    def _check(self, saved: dict[str, Any], state: TrainingState) -> tuple[list[EpochRecord], bool]:
        """The history in a file, and whether it has states for the generators of the GPUs here."""
        where = str(self.path)
        check_tree(where, saved, _Saved)
        settings = {**self.settings, **saved["settings"]}  # a file of an earlier version has fewer
        if different := [key for key, value in self.settings.items() if settings[key] != value]:
            listed = ", ".join(f"{k} {quoted(settings[k], 300)}, now {quoted(self.settings[k], 300)}" for k in different)
            raise InputError(
                f"{where} is of another training: {listed}{_instead(different)}",
                name=where,
                value={key: settings[key] for key in different},
                allowed="a checkpoint of a training with these settings",
            )
        if state.shrinking is not None:
            if "shrinking" not in saved:
                allowed = "what was removed from the network, as the training shrinks"
                raise InputError(name=f"{where}: shrinking", value=None, allowed=allowed)
            state.shrinking.resize(state, saved["shrinking"])
        if state.control is not None:
            if "control" not in saved:
                allowed = "the state of the control of β, as the training has a target"
                raise InputError(name=f"{where}: control", value=None, allowed=allowed)
            state.control.load_state_dict(saved["control"])
        for part in ("module", "best") if saved["best"] is not None else ("module",):
            check_state(where, saved[part], state.whole)
            for name, like in state.whole.state_dict().items():
                check_kind(f"{where}: {name}", saved[part][name], like)
        fixed = state.scheduler is None
        saved["optimizer"] = optimizer_state_in(where, saved["optimizer"], state.optimizer, fixed)
        check_scheduler_state(where, saved["scheduler"], state.scheduler)
        for generator in ("shuffle", "rng"):
            saved[generator] = generator_state_in(f"{where}: {generator}", saved[generator], state.shuffle.get_state())
            torch.Generator().set_state(saved[generator])  # raises an error for an invalid state
        check_own(where, saved.get("others", []), state)
        on_gpu = torch.cuda.get_rng_state_all() if saved["cuda_rng"] is not None and torch.cuda.is_available() else []
        pairs = zip(saved["cuda_rng"] or [], on_gpu, strict=True) if on_gpu else ()
        saved["cuda_rng"] = [generator_state_in(f"{where}: cuda_rng", *pair) for pair in pairs]
        history = [record_of(f"{where}: history.{number}", row) for number, row in enumerate(saved["history"])]
        if isinstance(state.batches, StatefulBatches) and "batches" not in saved:
            raise InputError(name=f"{where}: batches", value=None, allowed="the state of the batches, which they say they have")
        phase, epochs = state.spec.phase, [record.epoch for record in history]
        if epochs != list(range(1, len(history) + 1)) or any(record.phase != phase for record in history):
            raise InputError(name=f"{where}: history", value=epochs, allowed=f"the epochs of {phase!r}, from 1 on")
        skipped, in_a_row = saved["guard"]
        if not history or not 0 <= in_a_row <= skipped == history[-1].skipped:
            raise InputError(
                name=f"{where}: guard", value=saved["guard"], allowed="the skipped steps so far, and those in a row"
            )
        best = best_epoch(history, state.spec) if state.best is not None else None
        if (best is None) != (saved["best"] is None):
            allowed = "None" if best is None else f"the parameters of epoch {best}"
            raise InputError(name=f"{where}: best", value=saved["best"], allowed=allowed)
        return history, bool(on_gpu)


def _instead(different: list[str]) -> str:
    """What to do for more epochs: schedules are over the whole training, so that more of them are another one."""
    if "epochs" not in different:
        return ""
    return (
        ". A training is not made longer, because its schedules are for so many epochs: resume it as it was, and then train "
        "the guide further by another fit, with a checkpoint of its own; or begin again"
    )
