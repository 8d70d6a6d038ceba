"""Trainings whose checkpoints are spoilt: with every optimizer of torch, schedulers, loaders, shrinking, and a user's own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from reading import text_of
from seeds import DATA, OPTIONS, pair
from support import EachStep
from torch.optim.lr_scheduler import LinearLR, LRScheduler, OneCycleLR, ReduceLROnPlateau, SequentialLR
from torch.utils.data import DataLoader, TensorDataset

from pyro_vd import fit
from pyro_vd.training import TrainingState


class History(torch.optim.Optimizer):
    """An optimizer that a user has written: its state gets keys, and a longer list, while it trains."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["last"] = [*state.get("last", [])[-3:], p.grad.clone()]
                if len(state["last"]) > 1:
                    state.setdefault("slow", torch.zeros_like(p)).lerp_(sum(state["last"]) / len(state["last"]), 0.5)
                p -= group["lr"] * state["last"][-1]


class Noting(LRScheduler):
    """A scheduler that a user has written: it keeps all learning rates."""

    def __init__(self, optimizer: Any) -> None:
        self.noted: list[float] = []
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        self.noted.append(len(self.noted) * 1e-4)
        return [0.9 * group["lr"] for group in self.optimizer.param_groups]


def _sequential(optimizer: Any) -> SequentialLR:
    return SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=2), Noting(optimizer)], [2])


_OF_TORCH: dict[str, dict[str, Any]] = {
    "Adam": {"amsgrad": True, "foreach": True},
    "AdamW": {"fused": True},
    "SGD": {"momentum": 0.9, "fused": True},
    "RMSprop": {"centered": True, "momentum": 0.9},
    "Adagrad": {"fused": True},
    **{name: {} for name in ("Adadelta", "Adamax", "ASGD", "NAdam", "RAdam", "Rprop", "Adafactor")},
}

LOADER = DataLoader(TensorDataset(*DATA), batch_size=4, shuffle=True)
TRAININGS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "default": (None, {}),
    **{
        name: ("optimizer", {"optimizer": partial(getattr(torch.optim, name), lr=1e-3, **options)})
        for name, options in _OF_TORCH.items()
    },
    "one cycle": ("scheduler", {"scheduler": partial(OneCycleLR, max_lr=0.01, total_steps=9), "scheduler_interval": "step"}),
    "plateau": ("scheduler", {"scheduler": ReduceLROnPlateau, "validation": DATA}),
    "own": ("optimizer", {"optimizer": History}),
    "own scheduler": ("scheduler", {"scheduler": Noting}),
    "sequential": ("scheduler", {"scheduler": _sequential}),
    "loader": ("batches", {"train": LOADER, "batch_size": None, "steps_per_epoch": 2}),
    "best": ("best", {"restore_best": True, "validation": DATA}),
    "shrinking": ("shrinking", {"shrink": True, "epochs": 6}),
}
"""By name, the part of the checkpoint that no other training has, None for all of it, and arguments of ``fit``."""


def _train(path: Path, options: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    guide = pair()[1]
    if options.get("shrink"):
        _kill_units(guide)
    data = options.get("train", DATA)
    result = fit(guide, data, checkpoint=path, **{**OPTIONS, **{k: v for k, v in options.items() if k != "train"}, **more})
    return guide, result


def _kill_units(guide: Any) -> None:
    """Two of the three units, and an input, are beyond the threshold from the start."""
    site = guide.site(guide.site_names[0])
    with torch.no_grad():
        site.log_sigma2[1:] = 8.0
        site.theta[1:] = 1e-3
        site.log_sigma2[:, 0] = 8.0
        site.theta[:, 0] = 1e-3


def unfinished(options: dict[str, Any]) -> bytes:
    """The checkpoint after the epoch before the last."""
    kept: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.pt"

        def keep(state: TrainingState) -> None:
            if state.epoch == state.spec.epochs - 1 and not kept:
                kept.append(path.read_bytes())

        _train(path, options, callbacks=[EachStep(keep)])
    return kept[0]


def resume(options: dict[str, Any]) -> Callable[[Path], str]:
    """A function that goes on from a checkpoint: a wrong moment would be written through."""

    def read(path: Path) -> str:
        guide, result = _train(path, options, resume=True)
        losses = [(record.epoch, record.loss, record.kl) for record in result.history]
        return f"{losses} {text_of({**guide.model.state_dict(), **guide.state_dict()})}"

    return read
