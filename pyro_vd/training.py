"""The SVI training loop: schedules, a guard against non-finite steps, progress, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd.batches import check_batches
from pyro_vd.checks import check_data, check_device, check_number, check_pair
from pyro_vd.deployed import stored_size
from pyro_vd.elbo import VariationalDropoutELBO
from pyro_vd.guard import NonFiniteGuard
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.handlers import own_parameters, training_of
from pyro_vd.metrics import Arrays, error_of
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.observations import base_distribution
from pyro_vd.output_noise import OutputNoise, check_output_noise
from pyro_vd.posterior import mean_network
from pyro_vd.progress import Progress
from pyro_vd.pruning import DEFAULT_THRESHOLD, kept_weights, prune
from pyro_vd.schedules import KLWeight, LRSchedule
from pyro_vd.sizes import compression
from pyro_vd.storage import checksum
from pyro_vd.training_state import EpochRecord, TrainingState


@dataclass(frozen=True)
class FitResult:
    """What :func:`fit` returns beside the model and the guide, which it trains in place."""

    history: tuple[EpochRecord, ...]
    skipped: int
    """Steps that were skipped because a loss or gradient was not finite."""

    def __repr__(self) -> str:
        last = self.history[-1] if self.history else None
        return f"FitResult({len(self.history)} epochs, the last {last}; skipped={self.skipped})"


def fit(
    model: BayesianNetwork,
    guide: WeightGuide,
    train: Arrays,
    validation: Arrays | None = None,
    *,
    epochs: int,
    batch_size: int = 100,
    lr: float = 1e-3,
    lr_schedule: LRSchedule | None = None,
    kl_weight: KLWeight | float = 1.0,
    hold: float | None = None,
    noise: OutputNoise = "position",
    weight_decay: float = 0.0,
    num_particles: int = 1,
    augment: Callable[[Tensor], Tensor] | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    units: Sequence[int] | None = None,
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
        model: the network; its ``num_data`` is set to the size of ``train``.
        guide: its guide.
        train: inputs ``(n, …)`` and observations, as the likelihood takes them, moved to the device as a whole.
        validation: held-out data, measured after every epoch; never used for training.
        epochs: passes over the data, ≥ 1.
        batch_size: ≥ 1; a last smaller batch is trained on as well.
        lr: Adam's learning rate at the start, > 0.
        lr_schedule: its factor over the epochs, by default constant.
        kl_weight: β, a number or its warm-up over the epochs.
        hold: hold means at zero in the forward pass where log α reaches this; see
            :class:`~pyro_vd.reparam.LocalReparameterization`.
        noise: where a weight serves several positions of an example, draw its output's noise at each "position" independently,
            as in the paper, or once for each "example"; see there.
        weight_decay: λ ≥ 0 of an L2 penalty ½λ‖·‖² on the loss of one example, the usual scale; for guides without a KL. Not
            of the likelihood's parameters.
        num_particles: draws of the noise a step.
        augment: changes each batch of training inputs at random, such as
            :class:`~pyro_vd.augmentation.RandomAffine`; its ``repr`` tells one from another when a checkpoint is resumed.
        threshold: log α from which on the log's error and compression take a weight as pruned.
        units: the most inputs of each layer that they take as kept; see :func:`~pyro_vd.pruning.kept_weights`.
        device: ``"cpu"``, ``"cuda"``…; by default where the model is.
        checkpoint: file written, atomically, after every epoch; one that is there is replaced, unless ``resume``.
        resume: go on from ``checkpoint`` if it is there. On the CPU the result is then bit for bit that of a run that was
            never interrupted.
        log: ``metrics.jsonl``: a line an epoch. Lines of other phases in it are kept.
        phase: name of this training in log and progress.
        progress: show a progress bar on standard error.
        after_step: called after every step with the epoch, from 0, the step, from 1, and the number of steps an epoch; after
            an epoch's last step before its checkpoint is written. Such as a :class:`~pyro_vd.frames.FrameRecorder`.

    Raises:
        InputError: arguments out of range, a model that is being trained already, data that do not fit, model and guide that
            do not, a folder for files that is not there, or a checkpoint of another run: of other data, another guide or kind
            of prior, or other arguments.
        NonFiniteError: ten steps in a row had a non-finite loss or gradient. Such steps are skipped and counted.
    """
    check_pair(model, guide)
    guide.check_types(model)
    check_number("epochs", epochs, low=1, whole=True)
    check_number("batch_size", batch_size, low=1, whole=True)
    check_number("lr", lr, low=0, low_open=True)
    check_number("weight_decay", weight_decay, low=0)
    check_output_noise("noise", noise)
    lr_schedule = lr_schedule or LRSchedule()
    kl_weight = kl_weight if isinstance(kl_weight, KLWeight) else KLWeight(kl_weight)
    target = check_device(device) if device is not None else next(model.buffers()).device
    model.to(target)
    guide.to(target)
    x, y = (part.to(target) for part in check_data("training data", train, model, batch_size))
    check_batches(x, y, batch_size, model)
    if guide.learns_alpha or units is not None:
        kept_weights(model, guide, threshold, units)  # refuses what does not fit, before the first epoch
    held_out = None
    if validation is not None:
        held_out = tuple(part.to(target) for part in check_data("validation data", validation, model))
    model.num_data = len(x)
    steps = math.ceil(len(x) / batch_size)

    elbo = VariationalDropoutELBO(num_particles=num_particles, hold=hold, noise=noise)
    elbo.try_out(model, guide, x[:batch_size], y[:batch_size])
    loss_of = elbo(model, guide)
    likelihood = list(model.likelihood.parameters()) if isinstance(model.likelihood, nn.Module) else []
    others = [parameter for parameter in loss_of.parameters() if all(parameter is not own for own in likelihood)]
    groups: list[dict[str, Any]] = [{"params": others}, *([{"params": likelihood, "weight_decay": 0.0}] if likelihood else [])]
    optimizer = torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay * len(x), fused=True)
    shuffle = torch.Generator().manual_seed(int(torch.randint(2**31, (), device="cpu")))
    settings = {"phase": phase, "epochs": epochs, "batch_size": batch_size, "lr": lr, "num_data": len(x)}
    settings |= {"lr_schedule": repr(lr_schedule), "kl_weight": repr(kl_weight), "hold": hold, "noise": noise}
    settings |= {
        "weight_decay": weight_decay,
        "num_particles": num_particles,
        "threshold": threshold,
        "units": units and list(units),
    }
    settings |= {"augment": repr(augment), "guide": f"{type(guide).__name__}({guide.extra_repr()})"}
    settings |= {"priors": sorted({type(base_distribution(model.prior(name))).__name__ for name in model.weight_names})}
    settings |= {"data": checksum((x, y)) if checkpoint is not None else None}
    guard = NonFiniteGuard(loss_of, elbo)
    state = TrainingState(loss_of, optimizer, shuffle, guard, settings, _path(checkpoint), _path(log))
    if resume:
        state.restore()
    done = len(state.history)

    with training_of(model), Progress(phase, done * steps, epochs * steps, progress) as bar:
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
                inputs = x[batch] if augment is None else augment(x[batch])
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
            net = current_network(model, guide, threshold, units)
            errors = error_of(net, (held_out[0], held_out[1]), model.observed) if held_out else {}
            mean_loss, mean_data_term, mean_kl = (totals / taken).tolist()  # NaN where every step was skipped
            record = EpochRecord(
                phase=phase,
                epoch=epoch + 1,
                loss=mean_loss,
                data_term=mean_data_term,
                kl=mean_kl,
                kl_weight=elbo.kl_weight,
                lr=optimizer.param_groups[0]["lr"],
                error=next(iter(errors.values()), None),
                compression=compression(net, model.weight_names),
                skipped=guard.skipped,
                seconds=time.perf_counter() - started,
                is_rmse="rmse" in errors,
                **vars(stored_size(net)),
            )
            state.add(record)
            bar.epoch(record)
    model.gradient_watch.report()
    return FitResult(tuple(state.history), guard.skipped)


def _path(path: Path | str | None) -> Path | None:
    return None if path is None else Path(path)


def current_network(
    model: BayesianNetwork, guide: WeightGuide, threshold: float = DEFAULT_THRESHOLD, units: Sequence[int] | None = None
) -> nn.Module:
    """The network as it would be pruned now."""
    return prune(model, guide, threshold, units) if guide.learns_alpha else mean_network(model, guide)
