"""``compress``: from a trained network and a target to what is deployed, without a β to guess."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from pyro_vd._core.arguments import check_flag, check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd.data.batches import Batches
from pyro_vd.data.dataset import Data
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.networks.checks import check_hooks, check_module
from pyro_vd.networks.copies import copy_network
from pyro_vd.training.callbacks import Callback, Callbacks
from pyro_vd.training.progress import ProgressBar
from pyro_vd.training.spec import Augmentation
from pyro_vd.workflow.compress_arguments import check_arguments
from pyro_vd.workflow.compress_data import compress_data
from pyro_vd.workflow.compress_deploy import Deploy
from pyro_vd.workflow.compress_identity import COMPRESSION, claim, weights_of
from pyro_vd.workflow.compress_level import Training
from pyro_vd.workflow.compress_result import CompressResult
from pyro_vd.workflow.compress_trials import Trials
from pyro_vd.workflow.run_lock import only_process


def compress(
    net: nn.Module,
    train: Data | Batches,
    validation: Data | None = None,
    *,
    test: Data | None = None,
    target: float | Literal["max"] | None = None,
    target_latency: float | None = None,
    max_error_rise: float = 0.002,
    deploy: Deploy = "onnx",
    likelihood: Likelihood | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    augment: Augmentation | None = None,
    callbacks: Sequence[Callback] = (),
    folder: Path | str | None = None,
    resume: bool = False,
    progress: bool = True,
) -> CompressResult:
    """Make a trained network so many times smaller where it is deployed, with as little error as can be had.

    For an ONNX file, and for PyTorch, whole units must go: a guide of units is trained, the
    :class:`~pyro_vd.GroupVariationalDropout`, and the network is compacted. For a sparse file it is a guide of single weights,
    the :class:`~pyro_vd.VariationalDropout`. β is found in training, by :class:`~pyro_vd.KLWeight` with a target, and the
    threshold by the size of the file; what is left is fine-tuned. With ``target="max"``, or a latency, several compressions are
    tried: 4, 8, 16, …, and between the last two.

    Every choice is made on the validation data, which must be neither training nor test data. The given network is not changed,
    and neither are torch's generators.

    Args:
        net: a trained network, in whatever mode.
        train: the data that it was trained on, in any form that :func:`~pyro_vd.fit` takes.
        validation: held-out data. None splits a sixth off from the training data, which a message says; data that are read
            batch by batch are not split.
        test: data for the table at the end, which nothing is chosen by; None for those of a :class:`~pyro_vd.Dataset` as
            ``train``, otherwise for the validation data.
        target: how many times fewer bytes the deployed file is to have, > 1; or "max" for as many as ``max_error_rise`` allows.
        target_latency: in place of ``target``, the seconds in which a batch of 64 is to run where the network is deployed; the
            largest network that is fast enough is taken.
        max_error_rise: the rise of the validation error that "max" allows, in [0, 1]: for classes, a difference of shares
            (0.002 is a fifth of a percentage point), otherwise a share of the score. With any target, a message says where
            the validation data are too few to tell such a rise from none.
        deploy: what is deployed and counted: "onnx"; "torch", a safetensors file of the compact network; "sparse", one of its
            non-zeros.
        likelihood: as for :class:`~pyro_vd.models.BayesianNetwork`; None for classes from logits.
        epochs: of each training, to which fine-tuning adds 0.3 times as many, at least 3; None chooses them by the number of
            steps.
        lr: the learning rate; None chooses it.
        batch_size: examples per step; None is 100, and leaves loaders theirs.
        seed: of all that is random.
        device: where to train; None is where the network is. The result is on the CPU.
        augment: changes each batch of training inputs at random, as for ``fit``.
        callbacks: called in every phase of every training, as in ``fit``.
        folder: for checkpoints, made if it is not there.
        resume: go on with what is in ``folder``; the result is then that of a compression that was never interrupted.
        progress: show progress bars, with the time that is left.

    Raises:
        InputError: an argument out of range; both targets or none; the network has hooks, or is of another kind; data that do
            not fit it, or cannot be split; or, with ``resume``, files in ``folder`` that are of another compression.
        NonFiniteError: see :func:`~pyro_vd.fit`.

    Examples:
        >>> import torch
        >>> from pyro_vd import compress
        >>> from pyro_vd.networks import mlp
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(200, 8)
        >>> y = (x[:, 0] > 0).long()
        >>> given = {"validation": (x[:100], y[:100]), "epochs": 60, "lr": 0.01, "progress": False}
        >>> result = compress(mlp([8, 20, 2]), (x[100:], y[100:]), target=2, deploy="sparse", **given)
        >>> result.met, len(result.table())
        (True, 4)
    """
    check_module("net", net)
    check_hooks(net)
    asked = check_arguments(
        target=target,
        target_latency=target_latency,
        max_error_rise=max_error_rise,
        deploy=deploy,
        epochs=epochs,
        lr=lr,
        seed=seed,
        device=device,
    )
    Callbacks(callbacks)  # refuses what are none
    if check_flag("resume", resume) and folder is None:
        raise InputError(name="resume", value=resume, allowed="False where no folder is given")
    model = BayesianNetwork(given := copy_network(net).cpu().eval(), copy.deepcopy(likelihood))
    data = compress_data(train, validation, test, model, batch_size)
    where = next(net.parameters()).device if device is None else torch.device(device)
    bar = [ProgressBar(sizes=False)] if check_flag("progress", progress) else []  # a file has other sizes than the bar
    options = {"device": where, "augment": augment, "callbacks": [*callbacks, *bar], "progress": False}
    training = Training(data, asked.deploy, asked.epochs, asked.lr, batch_size, asked.seed, options)
    with ExitStack() as held:
        place = None if folder is None else check_path("folder", folder)
        if place is not None:
            held.enter_context(only_process(place))
            wanted = asked.target if asked.target_latency is None else f"{asked.target_latency:g} s"
            identity = {"network": weights_of(given), "target": wanted, "deploy": asked.deploy, "seed": asked.seed}
            claim(place / COMPRESSION, identity, resume)
        held.enter_context(generators_kept(where))
        return Trials(given, model, training, asked, place, resume).result(asked.target, asked.target_latency)
