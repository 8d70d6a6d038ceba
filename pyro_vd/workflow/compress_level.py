"""One training of a compression: from a network to a smaller one of a wanted size."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyro_vd._core.quiet import unsaid
from pyro_vd.compaction.compacting import compacted
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models import data_checks, gradient_watch
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.networks.sizes import weight_counts
from pyro_vd.pruning.gauge import gauge_of
from pyro_vd.training import kl_control
from pyro_vd.training.alpha_log import AlphaLog, AlphaRecord
from pyro_vd.training.callbacks import Callback
from pyro_vd.training.finetune import fine_tune
from pyro_vd.training.fitting import fit
from pyro_vd.training.schedules import KLWeight, LRSchedule
from pyro_vd.workflow.compress_data import CompressData
from pyro_vd.workflow.compress_deploy import Deploy, Footprint, reach
from pyro_vd.workflow.compress_pruning import made_guide, pruned_to

logger: logging.Logger = logging.getLogger(__name__)

_STEPS = 10.0
"""Steps of a training, in units of one over the learning rate: log α moves by about the learning rate per step at most, and
its way to the threshold is about 5."""
_FINE_TUNING = 0.3
"""The epochs of fine-tuning, as a share of those of the training."""
_SHORT = 1.1
"""The factor by which a training may miss its compression without being too short for it."""


@dataclass(frozen=True)
class Training:
    """How each training of a compression is carried out.

    Attributes:
        data: the data.
        deploy: what is deployed.
        epochs: of a training; None to choose it.
        lr: the learning rate; None to choose it.
        batch_size: examples per step; None as for :func:`~pyro_vd.fit`.
        seed: of all that is random.
        options: further arguments of ``fit``.
    """

    data: CompressData
    deploy: Deploy
    epochs: int | None
    lr: float | None
    batch_size: int | None
    seed: int
    options: dict[str, Any]

    def schedule(self) -> tuple[int, float]:
        """The number of epochs and the learning rate: as many steps as log α needs, with larger ones where data are few."""
        lr = self.lr or (1e-3 if self.data.steps >= 100 else 3e-3)
        return self.epochs or max(12, math.ceil(_STEPS / lr / self.data.steps)), lr

    def options_of(self, target: float, phase: str, folder: Path | None, resume: bool, *callbacks: Callback) -> dict[str, Any]:
        """The arguments of ``fit`` that both phases of a training have."""
        name = f"{target:.3g}x" if phase == "train" else f"{target:.3g}x, {phase}"
        files = {} if folder is None else {"checkpoint": folder / f"{target:g}x-{phase}.pt", "resume": resume}
        calls = {"callbacks": [*self.options.get("callbacks", ()), *callbacks]}
        return {**self.options, **calls, **files, "batch_size": self.batch_size, "phase": name}


@dataclass(frozen=True)
class Trained:
    """A network that was trained for a size.

    Attributes:
        network: compact.
        pruned: the same one before it was made compact.
        guide: as training left it, before it was pruned.
        threshold: on log α, at which it was pruned.
        history: of the training and the fine-tuning.
        alphas: the quantiles of log α after the epochs of the training.
        epochs: of the training, where these were too few for the weights to reach the threshold; otherwise None.
        messages: of the compaction.
    """

    network: nn.Module
    pruned: nn.Module
    guide: WeightGuide
    threshold: float
    history: tuple[EpochRecord, ...]
    alphas: tuple[AlphaRecord, ...]
    epochs: int | None
    messages: tuple[str, ...]

    @property
    def model(self) -> BayesianNetwork:
        """The trained model."""
        return self.guide.model


def trained(
    net: nn.Module,
    likelihood: Likelihood,
    training: Training,
    target: float,
    before: Footprint,
    folder: Path | None,
    resume: bool,
    is_first: bool = True,
) -> Trained:
    """Train a network so that its file becomes ``target`` times smaller.

    Args:
        net: the network, on the CPU, which is not changed.
        likelihood: of what it predicts; not changed.
        training: how to train.
        target: how many times smaller the file is to be.
        before: the size of the network.
        folder: for checkpoints; None for none.
        resume: whether to go on from them.
        is_first: whether no other size was tried before, so that what is to be said of any size is said.
    """
    data, deploy, example = training.data, training.deploy, training.data.example
    guide, rule = made_guide(net, likelihood, deploy, example)
    weights, _ = weight_counts(guide)
    wanted = reach(net, before, weights, before.bytes / target, deploy)
    if is_first and wanted.bytes > before.bytes / target + 1:
        text = (
            "%.3g times fewer bytes are out of reach: the training aims at about %.3g times, with the fewest weights that a "
            "network can learn with; the file may end a little smaller or larger"
        )
        logger.warning(text, target, before.bytes / wanted.bytes)
    epochs, lr = training.schedule()
    torch.manual_seed(training.seed)
    log = AlphaLog(None if folder is None else folder / f"{target:g}x-log-alpha.jsonl")
    # The target of the training is none that the user knows, and the data were checked before.
    with unsaid(kl_control.logger, data_checks.logger, *([] if is_first else [gradient_watch.logger])):
        first = fit(
            guide,
            data.train,
            epochs=epochs,
            lr=lr,
            lr_schedule=LRSchedule("linear", after=0.8),
            rule=rule,
            kl_weight=KLWeight(target=wanted.compression),
            **training.options_of(target, "train", folder, resume, log),
        )
    guide.model.cpu(), guide.cpu()
    is_short = gauge_of(guide, rule, example).compression() * _SHORT < wanted.compression
    pruned, threshold = pruned_to(guide, rule, wanted, deploy, example)
    torch.manual_seed(training.seed + 1)
    second = fine_tune(
        pruned,
        data.train,
        likelihood=guide.model.likelihood,
        epochs=max(3, round(_FINE_TUNING * epochs)),
        lr=lr,
        lr_schedule=LRSchedule("linear"),
        **training.options_of(target, "finetune", folder, resume),
    )
    found = compacted(pruned.cpu(), example)
    return Trained(
        found.net,
        pruned,
        guide,
        threshold,
        first.history + second.history,
        tuple(log.records),
        epochs if is_short else None,
        found.plan.messages,
    )
