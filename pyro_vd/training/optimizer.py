"""The optimizer of a training: Adam, or one that the user gives for groups of parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pyro_vd._core.arguments import check_choice
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line, quoted
from pyro_vd.training.fused_adam import FusedAdam
from pyro_vd.training.optimizer_state import first_step

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.training.spec import TrainingSpec

ParameterGroups = list[dict[str, Any]]
OptimizerFactory = Callable[[ParameterGroups], torch.optim.Optimizer]
"""A class of ``torch.optim``, a ``functools.partial`` of one, or any function of parameter groups that gives an optimizer."""
DEFAULT_LR = 1e-3
"""Learning rate of Adam, as torch has it."""
_IN_TORCH: dict[str, OptimizerFactory] = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
}


def check_optimizer(optimizer: Any, lr: float | None, weight_decay: float) -> None:
    """Refuse what is no optimizer of a training, or does not fit the training's learning rate and weight decay.

    Raises:
        InputError: neither None, a name of a class in ``torch.optim`` nor a function; a learning rate that is given twice; or
            a weight decay of the training, whose meaning is that of our own Adam.
    """
    if optimizer is None:
        return
    if isinstance(optimizer, str):
        check_choice("optimizer", optimizer, sorted(_IN_TORCH))
    elif not callable(optimizer):
        raise InputError(
            name="optimizer",
            value=optimizer,
            allowed="a class of torch.optim or its name, a functools.partial of one, a function of parameter groups, or None",
        )
    if isinstance(optimizer, partial) and "lr" in optimizer.keywords and lr is not None:
        raise InputError(
            f"lr (={lr!r}) and optimizer (={quoted(optimizer)}) both give a learning rate; leave one of them out",
            name="lr",
            value=lr,
            allowed="left out where the optimizer has a learning rate",
        )
    if weight_decay:
        raise InputError(
            name="weight_decay",
            value=weight_decay,
            allowed="0 where an optimizer is given: use the optimizer's own, as in functools.partial(torch.optim.AdamW, "
            "weight_decay=0.01)",
        )


def make_optimizer(spec: TrainingSpec, guide: WeightGuide, loss_of: nn.Module, num_data: int) -> torch.optim.Optimizer:
    """The optimizer of a training over all parameters of its objective.

    Args:
        spec: the settings.
        guide: tells which parameters are means and which are variances.
        loss_of: model and guide as one module, whose call gives the loss.
        num_data: N; the loss is that of N examples.

    Raises:
        InputError: the optimizer cannot be made, leaves parameters out, or cannot take a step.
    """
    if spec.optimizer is None:
        return _adam(loss_of, guide.model.likelihood, spec.lr, spec.weight_decay * num_data)
    factory = _IN_TORCH[spec.optimizer] if isinstance(spec.optimizer, str) else spec.optimizer
    groups = parameter_groups(guide, loss_of)
    wanted = {id(parameter): name for name, parameter in loss_of.named_parameters() if parameter.requires_grad}
    if spec.lr is not None:
        groups = [{**group, "lr": spec.lr} for group in groups]
    try:
        optimizer = factory(groups)
        if isinstance(optimizer, torch.optim.Optimizer):
            first_step(optimizer)
    except Exception as error:  # what a function of the user's own raises
        raise InputError(
            f"optimizer (={quoted(spec.optimizer)}) cannot train these parameters: {one_line(error)}",
            name="optimizer",
            value=spec.optimizer,
        ) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(
            f"optimizer (={quoted(spec.optimizer)}) gave {quoted(optimizer)}; it must give a torch.optim.Optimizer",
            name="optimizer",
            value=optimizer,
            allowed="a torch.optim.Optimizer",
        )
    given = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if left_out := [name for key, name in wanted.items() if key not in given]:
        raise InputError(
            f"optimizer (={quoted(spec.optimizer)}) leaves out the parameters {', '.join(left_out[:5])}; it must take every "
            "parameter of its groups: freeze what shall not be trained with requires_grad=False",
            name="optimizer",
            value=left_out,
            allowed="an optimizer of every parameter",
        )
    return optimizer


def parameter_groups(guide: WeightGuide, loss_of: nn.Module) -> ParameterGroups:
    """The parameters that are trained, in up to three groups with the keys ``params`` and ``name``.

    They are "theta", the means of weights and of factors of units; "log_variance", log σ² or log α of the same; and "plain",
    all others: biases, normalisation, parameters of the likelihood and of further guides.
    """
    of_sites = {id(parameter): name for name, parameter in guide.sites.named_parameters()}
    groups: dict[str, list[nn.Parameter]] = {"theta": [], "log_variance": [], "plain": []}
    for parameter in loss_of.parameters():
        if parameter.requires_grad:
            name = of_sites.get(id(parameter))
            kind = "plain" if name is None else "log_variance" if "log_" in name.rpartition(".")[2] else "theta"
            groups[kind].append(parameter)
    return [{"params": parameters, "name": name} for name, parameters in groups.items() if parameters]


def _adam(loss_of: nn.Module, likelihood: object, lr: float | None, weight_decay: float) -> FusedAdam:
    """Fused Adam over all parameters; those of the likelihood have no weight decay."""
    own = list(likelihood.parameters()) if isinstance(likelihood, nn.Module) else []
    others = [parameter for parameter in loss_of.parameters() if all(parameter is not each for each in own)]
    groups: ParameterGroups = [{"params": others}]
    if own:
        groups.append({"params": own, "weight_decay": 0.0})
    return FusedAdam(groups, DEFAULT_LR if lr is None else lr, weight_decay)
