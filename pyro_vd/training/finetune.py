"""Masked fine-tuning: ordinary training of the weights that pruning has left."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import nn

from pyro_vd.data.dataset import Data
from pyro_vd.guides.means import posterior_mean
from pyro_vd.guides.point_estimate import PointEstimate
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.models.weight_sites import Selection
from pyro_vd.networks.checks import check_trainable
from pyro_vd.training.fit_result import FitResult
from pyro_vd.training.fitting import FitOptions, fit
from pyro_vd.training.spec import TrainingSpec


def fine_tune(
    net: nn.Module,
    train: Data,
    validation: Data | None = None,
    *,
    likelihood: Likelihood | None = None,
    include: Selection = (),
    exclude: Selection = (),
    **options: Unpack[FitOptions],
) -> FitResult:
    """Train a pruned network further, in place and without noise; weights of its layers that are zero stay zero.

    So do zeros of further parameters in ``include``: give the same ones as in the training, where biases were pruned too.

    The network stays on its device and its modules in their modes; frozen parameters stay as they are. It is changed only when
    the training is complete: one that is interrupted, or ends with an error, leaves it as it was.

    Args:
        net: a pruned network.
        train, validation: as for :func:`~pyro_vd.training.fitting.fit`.
        likelihood, include, exclude: as for :class:`~pyro_vd.models.BayesianNetwork`.
        options: other arguments of :func:`~pyro_vd.training.fitting.fit`; ``epochs`` or ``spec`` is needed.

    Raises:
        InputError: as :func:`~pyro_vd.training.fitting.fit`, or a network of inference tensors.
        NonFiniteError: as :func:`~pyro_vd.training.fitting.fit`.

    Examples:
        >>> from pyro_vd import BayesianNetwork, VariationalDropout, fine_tune, load_data, prune
        >>> from pyro_vd.networks import mlp
        >>> small = prune(VariationalDropout(BayesianNetwork(mlp([64, 10]))))
        >>> small = fine_tune(small, load_data("digits"), epochs=1, progress=False)
    """
    model = BayesianNetwork(net, likelihood, include=include, exclude=exclude)
    check_trainable(net)
    model.gradient_watch.end()  # it warns of weights that the KL alone moves, and there is no KL
    guide = PointEstimate(model, {name: weight != 0 for name, weight in model.initial_weights.items()})
    spec = options.get("spec")
    if spec is None or (isinstance(spec, TrainingSpec) and spec.phase == TrainingSpec.phase):
        options.setdefault("phase", "finetune")
    result = fit(guide, train, validation, **options)
    _copy(posterior_mean(guide), net)
    return result


@torch.inference_mode(False)
@torch.no_grad()
def _copy(trained: nn.Module, net: nn.Module) -> None:
    """Copy the values of all parameters and buffers of a trained copy into the tensors of a network."""
    learnt = {**dict(trained.named_parameters()), **dict(trained.named_buffers())}
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        tensor.copy_(learnt[name.replace("_orig_mod.", "")])  # what torch.compile puts before a module's own names
