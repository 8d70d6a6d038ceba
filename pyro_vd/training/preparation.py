"""What happens before the first step of a training: everything is checked, moved to the device, and put together."""

from __future__ import annotations

from pathlib import Path

import torch

from pyro_vd._core.arguments import check_device, check_file, check_flag
from pyro_vd._core.compiler import check_compiler
from pyro_vd._core.errors import InputError
from pyro_vd._core.threads import alone
from pyro_vd.data.batches import Batches, TensorBatches
from pyro_vd.data.dataset import Data
from pyro_vd.data.examples import ExampleBatches
from pyro_vd.data.shards import WHOLE
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.models.data_checks import check_held_out
from pyro_vd.networks.checks import check_trainable
from pyro_vd.networks.inputs import rows, to_device
from pyro_vd.networks.precision import check_precision
from pyro_vd.pruning.rule import pruning_masks
from pyro_vd.training.batch_checks import batches_of, check_batches
from pyro_vd.training.batch_reading import BatchChecks
from pyro_vd.training.best_epoch import BestEpoch, check_scores
from pyro_vd.training.callbacks import Callback
from pyro_vd.training.checkpoint import Checkpoint
from pyro_vd.training.guard import NonFiniteGuard
from pyro_vd.training.kl_control import KLControl, check_controllable
from pyro_vd.training.optimizer import make_optimizer
from pyro_vd.training.placing import placed, values_kept
from pyro_vd.training.processes import Processes
from pyro_vd.training.scheduler import make_scheduler
from pyro_vd.training.sharing_out import check_modules, check_same, settings_of, shared_out
from pyro_vd.training.shrinking import Shrinking
from pyro_vd.training.spec import TrainingSpec
from pyro_vd.training.state import TrainingState

_EXAMPLES = 16
"""The most examples in :attr:`~.TrainingState.example`."""


def prepare(
    guide: WeightGuide,
    train: Data | Batches,
    validation: Data | None,
    spec: TrainingSpec,
    device: str | torch.device | None,
    checkpoint: Path | str | None,
    resume: bool,
    callbacks: Callback,
    processes: Processes,
) -> tuple[TrainingState, Checkpoint | None]:
    """Start a training, or go back to where it stopped; the arguments are those of :func:`~pyro_vd.fit`.

    ``processes`` are those that train together.

    Returns:
        The state before the next step, with which ``callbacks`` have been started, and the checkpoint to write, if any.

    Raises:
        InputError: see :func:`~pyro_vd.fit`. Model and guide are then as they were.
    """
    model = guide.model
    if not processes.alone:
        check_modules(guide)
    guide.check_types()
    check_trainable(model, guide)
    check_controllable(spec.kl_weight.target, type(guide).__name__, guide.learns_alpha, spec.rule)
    guide.check_train_threshold(held := spec.held(guide.site_names))
    resume = check_flag("resume", resume)
    if checkpoint is not None and processes.is_first:
        check_file("checkpoint", checkpoint)
    target = check_device(device) if device is not None else next(model.buffers()).device
    check_precision(spec.precision, dict(model.named_parameters()) | model.initial_weights, target)
    if spec.compile:
        check_compiler("compile", target)
    batches, first = batches_of(train, spec, model)
    held_out = None if validation is None else check_held_out("validation data", validation, model, spec.target)
    if guide.learns_alpha or spec.rule.max_inputs is not None:
        pruning_masks(guide, spec.rule)  # refuses what does not fit, before the first epoch
    batches, cut = shared_out(batches, processes)
    if not processes.alone:
        own_data = type(batches) not in (TensorBatches, ExampleBatches) and cut == WHOLE
        options = {"validation data": held_out is not None, "checkpoint": checkpoint is not None, "resume": resume}
        check_same(processes, settings_of(spec, guide, batches, own_data) | options)
    saved = None
    if checkpoint is not None:
        saved = Checkpoint(checkpoint, processes.of_first(lambda: spec.fingerprint(guide, batches)), processes)
    if resume and saved is None:
        raise InputError(name="resume", value=resume, allowed="False where no checkpoint is given")
    elbo = VariationalDropoutELBO(num_particles=spec.num_particles, noise=spec.noise, kl_weights=spec.kl_weights)
    with placed(guide, target, batches.num_examples, held) as put_back:
        if type(batches) is TensorBatches:
            batches = batches.to(target)
        checked = check_batches(batches, model, first)
        held_out = held_out and to_device(held_out, target)
        elbo.try_out(model, guide, *checked)
        loss_of = elbo(model, guide)
        optimizer = make_optimizer(spec, guide, loss_of, batches.num_examples)
        with alone():
            seed = processes.of_first(lambda: int(torch.randint(2**31, (), device="cpu")))
        state = TrainingState(
            guide=guide,
            spec=spec,
            processes=processes,
            batches=batches,
            cut=cut,
            checks=None if first is None else BatchChecks(model, first[1]),
            validation=held_out,
            device=target,
            elbo=elbo,
            loss_of=loss_of,
            optimizer=optimizer,
            scheduler=make_scheduler(spec, optimizer, held_out is not None),
            shuffle=torch.Generator().manual_seed(seed),
            guard=NonFiniteGuard(loss_of, elbo),
            example=rows(checked[0], slice(_EXAMPLES)),
            best=BestEpoch(loss_of) if spec.restore_best else None,
            put_back=put_back if spec.compile else None,
        )
        if spec.shrink:
            state.shrinking = Shrinking(state, checked[0])
        if spec.kl_weight.target is not None:
            state.control = KLControl(spec, guide, checked[0])
        if spec.restore_best:
            check_scores("restore_best", state)
        with values_kept(loss_of):
            processes.copy_from_first([*loss_of.parameters(), *loss_of.buffers()])
            processes.seed_others(seed)
            if saved is not None:
                saved.try_out(state)
                if resume:
                    saved.restore(state)
            processes.begin(state.trained)
            callbacks.on_start(state)
            state.stopped = any(processes.exchange(state.stopped))
    return state, saved
