"""The SVI training loop: schedules, a guard against non-finite steps, progress, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import HIGHEST_LR, LARGEST, check_device, check_flag, check_number, check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.storage import checksum
from pyro_vd.data.augmentation import augmented
from pyro_vd.data.dataset import Data
from pyro_vd.evaluation.deployed import stored_size
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.score import ERROR, score_of
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.means import posterior_mean
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.inference.handlers import own_parameters, training_of
from pyro_vd.inference.output_noise import OutputNoise, check_output_noise
from pyro_vd.models.data_checks import check_data, check_measured
from pyro_vd.networks.checks import check_trainable
from pyro_vd.networks.sizes import compression
from pyro_vd.pruning.pruned import prune
from pyro_vd.pruning.rule import Rule, pruning_masks, rule_of
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD
from pyro_vd.training.batch_checks import check_batches
from pyro_vd.training.forked import check_process
from pyro_vd.training.guard import NonFiniteGuard
from pyro_vd.training.identity import identity, pair_identity
from pyro_vd.training.placing import placed
from pyro_vd.training.progress import Progress
from pyro_vd.training.schedules import KLWeight, LRSchedule, check_schedules
from pyro_vd.training.state import TrainingState


@dataclass(frozen=True)
class FitResult:
    """What :func:`fit` returns beside the model and the guide, which it trains in place."""

    history: tuple[EpochRecord, ...]
    skipped: int
    """Steps that were skipped because a loss or gradient was not finite."""

    def __repr__(self) -> str:
        last = self.history[-1] if self.history else None
        return f"FitResult({len(self.history)} epochs, the last {last}; skipped={self.skipped})"


@torch.inference_mode(False)
@torch.enable_grad()
def fit(
    guide: WeightGuide,
    train: Data,
    validation: Data | None = None,
    *,
    epochs: int,
    batch_size: int = 100,
    lr: float = 1e-3,
    lr_schedule: LRSchedule | None = None,
    kl_weight: KLWeight | float = 1.0,
    train_threshold: float | None = None,
    noise: OutputNoise = "position",
    weight_decay: float = 0.0,
    num_particles: int = 1,
    augment: Callable[[Tensor], Tensor] | None = None,
    rule: Rule = DEFAULT_THRESHOLD,
    device: str | torch.device | None = None,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    log: Path | str | None = None,
    phase: str = "train",
    progress: bool = True,
    after_step: Callable[[int, int, int], None] | None = None,
) -> FitResult:
    """Train a model, its likelihood and its guide by maximising the ELBO with Adam, in place.

    Trainings in several threads do not disturb each other, one step runs at a time. Their noise comes from torch's generator,
    which they share, so that only one at a time gives the same numbers again.

    Args:
        guide: the guide of the model that is trained; the model's ``num_data`` is set to the size of ``train``.
        train: inputs ``(n, …)`` and observations, as the likelihood takes them, as tensors, NumPy arrays or lists, moved to the
            device as a whole; or a :class:`~pyro_vd.Dataset`, of which the training part is taken, or one of torch's.
        validation: held-out data, measured after every epoch; never used for training. No whole :class:`~pyro_vd.Dataset`.
        epochs: passes over the data, ≥ 1.
        batch_size: ≥ 1; a last smaller batch is trained on as well.
        lr: Adam's learning rate at the start, > 0.
        lr_schedule: its factor over the epochs, by default constant.
        kl_weight: β, a number or its warm-up over the epochs.
        train_threshold: log α at or above which means are held at zero in the forward pass, of a guide that learns it, which
            has it from then on; see :attr:`~pyro_vd.guides.WeightGuide.train_threshold`. None holds nothing.
        noise: where a weight serves several positions of an example, draw its output's noise at each "position" independently,
            as in the paper, or once for each "example"; see there.
        weight_decay: λ ≥ 0 of an L2 penalty ½λ‖·‖² on the loss of one example, the usual scale; for guides without a KL. Not
            of the likelihood's parameters.
        num_particles: draws of the noise per step.
        augment: changes each batch of training inputs at random, such as
            :class:`~pyro_vd.data.RandomAffine`. Where a checkpoint is written it must be a function, or an object of
            plain values, that a new process knows again; see :func:`~pyro_vd.training.identity.identity`.
        rule: what the log's error and compression take as pruned; see :func:`~pyro_vd.prune`.
        device: ``"cpu"``, ``"cuda"``…; by default where the model is.
        checkpoint: file written, atomically, after every epoch; one that is there is replaced, unless ``resume``.
        resume: go on from ``checkpoint`` if it is there. On the CPU the result is then bit for bit that of a run that was
            never interrupted.
        log: ``metrics.jsonl``: one line per epoch. Lines of other phases in it are kept.
        phase: name of this training in log and progress.
        progress: show a progress bar on standard error.
        after_step: called after every step with the epoch, from 0, the step, from 1, and the number of steps per epoch; after
            an epoch's last step before its checkpoint is written. Such as a :class:`~pyro_vd.training.frames.FrameRecorder`.

    Raises:
        InputError: arguments out of range, a model that is being trained already, data that do not fit, model and guide that
            do not, a folder for files that is not there, or a checkpoint of another run: of other data, another guide or kind
            of prior, or other arguments.
        NonFiniteError: ten steps in a row, or all of an epoch, had a non-finite loss or gradient; such steps are skipped and
            counted. Or what the steps of an epoch have made is not finite. The checkpoint of the epoch before stays.
    """
    check_process()
    check_guide(guide)
    model = guide.model
    with training_of(model):
        guide.check_types(model)
        check_trainable(model, guide)
        epochs = check_number("epochs", epochs, low=1, high=LARGEST, whole=True)
        batch_size = check_number("batch_size", batch_size, low=1, high=LARGEST, whole=True)
        lr = check_number("lr", lr, low=0, high=HIGHEST_LR, low_open=True)
        weight_decay = check_number("weight_decay", weight_decay, low=0, high=HIGHEST_LR)
        rule, train_threshold = rule_of(rule), guide.check_train_threshold(train_threshold)
        check_output_noise("noise", noise)
        lr_schedule, kl_weight = check_schedules(lr_schedule, kl_weight)
        for name, function in (("augment", augment), ("after_step", after_step)):
            if function is not None and not callable(function):
                raise InputError(name=name, value=function, allowed="a function or None")
        if not isinstance(phase, str):
            raise InputError(name="phase", value=phase, allowed="text")
        progress, resume = check_flag("progress", progress), check_flag("resume", resume)
        checkpoint, log = (None if p is None else check_path(n, p) for n, p in (("checkpoint", checkpoint), ("log", log)))
        target = check_device(device) if device is not None else next(model.buffers()).device
        x, y = check_data("training data", train, model, batch_size, "train")
        held_out = None if validation is None else check_measured("validation data", validation, model)
        if guide.learns_alpha or rule.max_inputs is not None:
            pruning_masks(guide, rule)  # refuses what does not fit, before the first epoch
        elbo = VariationalDropoutELBO(num_particles=num_particles, noise=noise)
        settings = {"phase": phase, "epochs": epochs, "batch_size": batch_size, "lr": lr, "num_data": len(x)}
        settings |= {"noise": noise, "weight_decay": weight_decay, "num_particles": elbo.num_particles}
        settings |= {"train_threshold": train_threshold, "rule": asdict(rule)}
        if checkpoint is not None:
            given = {"lr_schedule": lr_schedule, "kl_weight": kl_weight, "augment": augment}
            settings |= {name: identity(name, value) for name, value in given.items()} | pair_identity(model, guide)
            settings["data"] = checksum((x, y))
        elif resume:
            raise InputError("resume (=True) needs a checkpoint to go on from")

        with placed(guide, target, len(x), train_threshold):
            x, y = x.to(target), y.to(target)
            check_batches(x, y, batch_size, model)
            held_out = held_out and (held_out[0].to(target), held_out[1].to(target))
            elbo.try_out(model, guide, x[:batch_size], y[:batch_size])
            loss_of = elbo(model, guide)
            likelihood = list(model.likelihood.parameters()) if isinstance(model.likelihood, nn.Module) else []
            others = [parameter for parameter in loss_of.parameters() if all(parameter is not own for own in likelihood)]
            groups: list[dict[str, Any]] = [
                {"params": others},
                *([{"params": likelihood, "weight_decay": 0.0}] if likelihood else []),
            ]
            optimizer = torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay * len(x), fused=True)
            shuffle = torch.Generator().manual_seed(int(torch.randint(2**31, (), device="cpu")))
            guard = NonFiniteGuard(loss_of, elbo)
            state = TrainingState(loss_of, optimizer, shuffle, guard, settings, checkpoint, log)
            if resume:
                state.restore()
        steps = math.ceil(len(x) / batch_size)
        done = len(state.history)

        with Progress(phase, done * steps, epochs * steps, progress) as bar:
            for epoch in range(done, epochs):
                started = time.perf_counter()
                loss_of.train()
                order = torch.randperm(len(x), generator=shuffle, device="cpu").to(target)
                totals, taken = torch.zeros(3, device=target), 0
                for step, batch in enumerate(order.split(batch_size)):
                    now = epoch + step / steps
                    elbo.kl_weight = kl_weight.at(now)
                    for group in optimizer.param_groups:
                        group["lr"] = lr * lr_schedule.at(now, epochs)
                    optimizer.zero_grad()
                    inputs = x[batch] if augment is None else augmented(augment, x[batch])
                    with own_parameters():  # they belong to the modules: Pyro's store, and another training, are left alone
                        loss: Tensor = loss_of(inputs, y[batch])
                        loss.backward()
                    if guard.is_finite(loss):
                        optimizer.step()
                        totals += torch.stack([loss.detach(), elbo.data_term, elbo.kl])
                        taken += 1
                    bar.step()
                    if after_step is not None:
                        after_step(epoch, step + 1, steps)
                guard.check_epoch(taken, inputs, y[batch])
                net = current_network(guide, rule)
                score = score_of(net, held_out, model.observed) if held_out else None
                mean_loss, mean_data_term, mean_kl = (totals / taken).tolist()
                record = EpochRecord(
                    phase=phase,
                    epoch=epoch + 1,
                    loss=mean_loss,
                    data_term=mean_data_term,
                    kl=mean_kl,
                    kl_weight=elbo.kl_weight,
                    lr=optimizer.param_groups[0]["lr"],
                    score=score.value if score else None,
                    score_name=score.name if score else ERROR,
                    compression=compression(net, model.weight_names),
                    skipped=guard.skipped,
                    seconds=time.perf_counter() - started,
                    **vars(stored_size(net)),
                )
                state.add(record)
                bar.epoch(record)
        model.gradient_watch.report()
        return FitResult(tuple(state.history), guard.skipped)


def current_network(guide: WeightGuide, rule: Rule = DEFAULT_THRESHOLD) -> nn.Module:
    """The network as it would be pruned now."""
    return prune(guide, rule) if guide.learns_alpha else posterior_mean(guide)
