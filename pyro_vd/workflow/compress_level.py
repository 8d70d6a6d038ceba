"""One training of a compression: from a network to a smaller one of a wanted size."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyro_vd._core.quiet import unsaid
from pyro_vd.compaction.compacting import compacted
from pyro_vd.distributions.priors import LogUniform, NormalJeffreys
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides.group_variational_dropout import GroupVariationalDropout
from pyro_vd.guides.variational_dropout import VariationalDropout
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models import data_checks, gradient_watch
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.inputs import Inputs
from pyro_vd.networks.sizes import weight_counts
from pyro_vd.pruning.gauge import gauge_of
from pyro_vd.pruning.pruned import masked
from pyro_vd.pruning.rule import PruningRule, pruning_masks
from pyro_vd.training import kl_control
from pyro_vd.training.alpha_log import AlphaLog, AlphaRecord
from pyro_vd.training.callbacks import Callback
from pyro_vd.training.finetune import fine_tune
from pyro_vd.training.fitting import fit
from pyro_vd.training.schedules import KLWeight, LRSchedule
from pyro_vd.workflow.compress_data import CompressData
from pyro_vd.workflow.compress_deploy import Deploy, Footprint, Reach, file_bytes, reach

logger: logging.Logger = logging.getLogger(__name__)

_FACTORS = (0.8, 0.85, 0.9, 0.95, 1.0, 1.03, 1.06, 1.1, 1.15, 1.2, 1.3, 1.5, 1.75, 2.0, 3.0, 5.0)
"""What the wanted compression is multiplied by, in turn, until the file is as small as it has to be."""
_STEPS = 10.0
"""Steps of a training, in units of one over the learning rate: log α moves by about the learning rate per step at most, and
its way to the threshold is about 5."""
_SPARE = 64
"""The bytes by which what an ONNX file holds beside its numbers may vary with their count."""
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


def made_guide(
    net: nn.Module, likelihood: Likelihood | None, deploy: Deploy, example: Inputs
) -> tuple[WeightGuide, PruningRule]:
    """Return the guide that removes what the file loses, units or single weights, and the rule of its training."""
    net, likelihood = copy_network(net), copy.deepcopy(likelihood)
    if deploy == "sparse":
        return VariationalDropout(BayesianNetwork(net, likelihood, prior=LogUniform), log_sigma2=-8.0), PruningRule(3.0)
    model = BayesianNetwork(net, likelihood, prior=NormalJeffreys)
    return GroupVariationalDropout(model, log_sigma2=-4.0, weight_noise=False, example=example), PruningRule(0.0)


def pruned_to(guide: WeightGuide, rule: PruningRule, wanted: Reach, deploy: Deploy, example: Inputs) -> tuple[nn.Module, float]:
    """Prune a trained guide at the highest threshold at which the file of the compact network is small enough; return both.

    Where none is low enough, the lowest one is taken. The threshold is never above that of the rule: what is beyond was held at
    zero in training.

    Args:
        guide: that is trained.
        rule: of its training.
        wanted: the compression that the training had as its target, and the most bytes of the file.
        deploy: what is deployed.
        example: a batch of inputs.
    """
    gauge, overhead = gauge_of(guide, rule, example), None
    for factor in _FACTORS:
        shift = min(0.0, gauge.shift_for(wanted.compression * factor))
        threshold = rule.threshold + shift
        pruned = masked(guide, pruning_masks(guide, PruningRule(threshold)))
        small = compacted(pruned, example).net
        stored = sum(tensor.numel() * tensor.element_size() for tensor in small.state_dict().values())
        if deploy != "onnx":
            size = file_bytes(small, deploy, example)
        else:  # writing one takes seconds, and what is in it beside the numbers is nearly the same
            overhead = file_bytes(small, deploy, example) - stored + _SPARE if overhead is None else overhead
            size = stored + overhead
        if size <= wanted.bytes:
            break
    return pruned, threshold
