"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Unpack, cast

import torch
from torch import Tensor

from pyro_vd._core.arguments import check_flag
from pyro_vd._core.errors import InputError
from pyro_vd.data.batches import Batches
from pyro_vd.data.dataset import Data
from pyro_vd.evaluation.deployed import stored_size
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.score import ERROR, score_of
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.handlers import training_of
from pyro_vd.networks.sizes import compression
from pyro_vd.pruning.pruned import report_pruned
from pyro_vd.training.best_epoch import best_epoch
from pyro_vd.training.callbacks import Callback, Callbacks
from pyro_vd.training.checkpoint import Checkpoint
from pyro_vd.training.fit_result import FitResult
from pyro_vd.training.forked import check_process
from pyro_vd.training.keyword_settings import TrainingSettings, spec_of
from pyro_vd.training.preparation import prepare
from pyro_vd.training.processes import processes_here
from pyro_vd.training.progress import ProgressBar
from pyro_vd.training.spec import TrainingSpec
from pyro_vd.training.state import TrainingState
from pyro_vd.training.update import Update
from pyro_vd.training.vanished import clear_vanished


class FitOptions(TrainingSettings, total=False):
    """The arguments of :func:`fit` after the data, as keyword arguments."""

    spec: TrainingSpec | None
    device: str | torch.device | None
    checkpoint: Path | str | None
    resume: bool
    callbacks: Sequence[Callback]
    progress: bool


@torch.inference_mode(False)
@torch.enable_grad()
def fit(
    guide: WeightGuide,
    train: Data | Batches,
    validation: Data | None = None,
    spec: TrainingSpec | None = None,
    *,
    device: str | torch.device | None = None,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    **settings: Unpack[TrainingSettings],
) -> FitResult:
    """Train a model, its likelihood and its guide by maximising the ELBO, in place.

    Trainings in several threads do not disturb each other; one step runs at a time. They share torch's generator, from which
    their noise comes, so that only a training that runs alone gives the same numbers again.

    The processes of a group of ``torch.distributed``, such as those that torchrun starts, train together where all of them call
    it with the same arguments: on the gradient of all examples of a batch, of which each has its share, as one process would
    train, with noise of its own. Parameters and buffers start as those of rank 0. It measures, calls the callbacks and writes
    the files; ``callbacks`` and the file of ``checkpoint`` are its own. ``batch_size`` is that of all processes together. A
    loader with a ``DistributedSampler``, or split by rank, gives each process its own examples; any other one gives all of them
    the same, of which each takes its share. An error in one process ends all.

    With ``shrink=True`` a training becomes cheaper as its network thins. A weight is dead if it was beyond the threshold of
    ``rule``, and beyond ``train_threshold`` where there is one, at the ends of three epochs one after another, or if masks have
    removed it before the training. Inputs and units that dead weights alone connect are removed for good: from the network that
    is trained, the guide, the optimizer's state and the batches. What is removed is what :func:`~pyro_vd.compact` removes of a
    network in which the dead weights are zero, so that the function of the pruned network stays: of what was held at zero, the
    noise alone is gone. What constant units contribute is added to biases after an epoch; where a layer has none, they stay.
    Units are looked for where a tenth of the weights is likely to go, before the training and at most every third epoch.

    Model and guide keep their shapes, names and indices: what is trained is written into them after every epoch, and weights
    that were removed have masks (:meth:`~pyro_vd.guides.WeightGuide.apply_masks`). Scores, sizes, checkpoints and frames are
    those of the whole network. Attentions stay whole. A network that compaction cannot follow is trained whole, which a message
    says.

    With ``compile=True`` the forward pass, the likelihood, the KL and all their gradients are compiled by ``torch.compile``
    before the first step, which takes seconds to a minute, and on a GPU replayed as one CUDA graph. The noise is drawn outside
    of the compiled code: it has the same numbers, and results differ by rounding. Steps with batches of other shapes than the
    first one are not compiled. After the network was made smaller, the step is compiled again, for at most eight sizes. The
    network's own Python code runs only while it is compiled.

    Args:
        guide: the guide of the model that is trained; the model's ``num_data`` is set to the number of examples.
        train: inputs ``(n, …)`` and observations, as the likelihood takes them, as a pair of tensors, NumPy arrays or lists,
            which are moved to the device as a whole; several inputs are a tuple or a mapping, as in ``((x1, x2), y)``. Or a
            :class:`~pyro_vd.Dataset`, of which the training part is taken. Data that are read batch by batch are a
            ``DataLoader``; a data set of torch or of Hugging Face; a pair with memory-mapped arrays; another object that can be
            iterated over again, whose items are batches; or :class:`~pyro_vd.data.Batches`. A batch is a pair of inputs and
            observations, or a mapping of the inputs and, under the key ``target``, the observations.
        validation: held-out data in any of these forms, measured after every epoch and never used for training. No whole
            :class:`~pyro_vd.Dataset`.
        spec: the settings of the training.
        device: ``"cpu"``, ``"cuda"``…; by default where the model is.
        checkpoint: file that is written, atomically, after every epoch; an existing one is replaced, unless ``resume``.
        resume: go on from ``checkpoint`` if it exists. On the CPU the result is then bit for bit that of a training that was
            never interrupted.
        callbacks: what is called after each step and each epoch, such as :class:`~pyro_vd.training.MetricsLog`.
        progress: show a progress bar on standard error.
        settings: fields of :class:`~pyro_vd.training.TrainingSpec`, in its place or to replace those of ``spec``: ``epochs``,
            which is needed, ``lr``, ``batch_size``, ``kl_weight`` and more.

    Raises:
        InputError: arguments out of range, a model that is being trained already; with ``compile=True`` also a machine without
            a C++ compiler, or without Triton for a GPU, and a network that compiled code would not repeat: whose shapes or
            branches depend on numbers, which draws noise that depends on computed numbers or in Python, or whose forward pass
            changes attributes; the message names the layer; with ``shrink=True`` also a model with a
            ``forward`` of its own, a guide without α or with appended guides, priors that differ between the weights of a site,
            or an optimizer whose state is not of the shapes of the parameters; data that do not fit (of data that are read
            batch by batch, the message says which batch of which epoch), model and guide that do not fit, a missing folder for
            files, or a checkpoint of another training: of other data, another guide or kind of prior, or other settings.
        NonFiniteError: ten steps in a row, or all of an epoch, had a non-finite loss or gradient (such steps are skipped and
            counted), or parameters are not finite at the end of an epoch. The checkpoint of the epoch before stays.
        ProcessError: another process of the training has failed, was killed or does not answer.

    Examples:
        >>> from pyro_vd import BayesianNetwork, KLWeight, VariationalDropout, fit, load_data
        >>> from pyro_vd.networks import mlp
        >>> guide = VariationalDropout(BayesianNetwork(mlp([64, 20, 10])))
        >>> result = fit(guide, load_data("digits"), epochs=2, kl_weight=KLWeight(0.3, end=1), progress=False)
        >>> [record.epoch for record in result.history], result.skipped
        ([1, 2], 0)
    """
    check_process()
    processes = processes_here()
    with processes.together():
        check_guide(guide)
        spec = spec_of(spec, {**settings}, FitOptions.__annotations__)
        shown = [ProgressBar()] if check_flag("progress", progress) else []
        calls = Callbacks([*callbacks, *shown] if isinstance(callbacks, Sequence) else callbacks, processes.is_first)
        with training_of(guide.model):
            state, saved = prepare(guide, train, validation, spec, device, checkpoint, resume, calls, processes)
            try:
                _train(state, saved, calls)
            except InputError:
                if state.put_back is not None and not state.epoch and not state.step:  # the first step cannot be compiled
                    state.put_back()
                raise
            if processes.is_first:
                guide.model.gradient_watch.report()
            if state.best is not None:
                state.best.restore()
            if processes.is_first and state.control is not None and not state.stopped:
                state.control.report()
            if processes.is_first and guide.learns_alpha and not state.stopped:
                report_pruned(guide, spec.rule, state.example, guide.model.observed)
            best = best_epoch(state.history, spec) if spec.restore_best else None
            processes.exchange(None)  # nobody leaves before all have succeeded
            return FitResult(tuple(state.history), state.guard.skipped, best or state.epoch, tuple(state.compile_seconds))


def _train(state: TrainingState, saved: Checkpoint | None, calls: Callbacks) -> None:
    """Train until the training is complete, and call :meth:`~.Callback.on_end` however it ends."""
    processes = state.processes
    try:
        if state.shrinking is not None and not state.epoch and not state.is_complete:
            state.shrinking.before_training(state)
        update = Update(state)
        while not state.is_complete:
            started = time.perf_counter()
            state.loss_of.train()
            totals, taken = torch.zeros(3, device=state.device), 0
            for x, y in state.draw_epoch():
                with state.explained(x, y):
                    terms = update.take(x, y)
                if terms is not None:
                    totals += terms
                    taken += 1
                state.step += 1
                calls.on_step(state)
            state.guard.check_epoch(taken, *update.batch)
            clear_vanished(cast(WeightGuide, state.loss_of.guide), state.optimizer)
            record = processes.of_first(partial(_measured, state, totals / taken, started))
            processes.agree_after_epoch(state.loss_of, record.epoch)
            state.history.append(record)
            state.step = 0
            update.end_epoch(record)
            state.write()
            if state.best is not None:
                state.best.after_epoch(state)
            calls.on_epoch(state, record)
            state.stopped = any(processes.exchange(state.stopped))
            if state.shrinking is not None and state.shrinking.after_epoch(state):
                update = Update(state)
            if saved is not None:
                saved.save(state)
        processes.same_generators(state.device)
    finally:
        state.write()
        calls.on_end(state)


def _measured(state: TrainingState, means: Tensor, started: float) -> EpochRecord:
    """The record of the epoch that was just completed: means over its steps, and the network as it would be pruned now."""
    net, model = state.network(), state.guide.model
    score = None if state.validation is None else score_of(net, state.validation, model.observed)
    loss, data_term, kl = means.tolist()
    return EpochRecord(
        phase=state.spec.phase,
        epoch=state.epoch + 1,
        loss=loss,
        data_term=data_term,
        kl=kl,
        kl_weight=state.elbo.kl_weight,
        lr=float(state.lr),
        score=None if score is None else score.value,
        score_name=ERROR if score is None else score.name,
        compression=compression(net, model.weight_names),
        skipped=state.guard.skipped,
        seconds=time.perf_counter() - started,
        **vars(stored_size(net)),
    )
