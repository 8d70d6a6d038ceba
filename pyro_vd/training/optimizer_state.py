"""Checks of an optimizer's state from a file, before any of it is loaded: fused kernels check neither sizes nor strides."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd._core.messages import one_line, quoted
from pyro_vd.training.state_forms import check_alike, check_finite, check_kind, is_same

_LR = "lr"
"""The setting that a training changes at every step."""

_SHARES = ("momentum", "betas")
"""Settings from 0 to 1 that schedulers of torch change too."""

_NOT_NEGATIVE = ("step", "sum", "acc_delta", "exp_inf", "row_var", "col_var", "variance", "step_size", "eta", "mu_product")
"""In the optimizers of torch, counts, sums of squares and sizes of steps, beside those with ``sq`` in their names."""


def optimizer_state_in(where: str, state: Any, optimizer: torch.optim.Optimizer, fixed: bool = True) -> dict[str, Any]:
    """Return a ``state_dict`` from a file with its numbers in tensors of the optimizer's own, once all of it is checked.

    The tensors of a file have any strides, and may share memory, with themselves as well.

    Args:
        where: the file, for messages.
        state: anything.
        optimizer: one whose state has its form after the first step. If it is of a class of torch, the state must have this
            form. That of another class may have further keys, and lists and tensors that grow, if a copy of the optimizer can
            take a step with it.
        fixed: whether all settings but the learning rate must be the optimizer's own. Otherwise a scheduler may change numbers:
            learning rate, momentum, and what it has added itself. A class of the user's own may change all.

    Raises:
        InputError: groups, settings, names, types or shapes that differ from the optimizer's; numbers that are not finite;
            negative step counts or squares.
    """
    after, grows = first_step(optimizer), not type(optimizer).__module__.startswith("torch.optim")
    if not isinstance(state, dict) or set(state) != {"state", "param_groups"}:
        raise InputError(name=f"{where}: optimizer", value=state, allowed="a mapping with the keys state and param_groups")
    kept = () if grows else tuple(optimizer.defaults.keys() - {_LR, *(() if fixed else _SHARES)})
    _check_groups(f"{where}: optimizer.param_groups", state["param_groups"], after["param_groups"], (*kept, "params"))
    wanted, moments = after["state"], state["state"]
    if not isinstance(moments, dict) or not all(type(index) is int for index in moments) or not moments.keys() <= wanted.keys():
        raise InputError(
            name=f"{where}: optimizer.state", value=moments, allowed=f"a mapping from {len(wanted)} parameters, counted from 0"
        )
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    taken = {
        index: _taken(f"{where}: optimizer.state.{index}", found, wanted[index], shapes[index], grows)
        for index, found in moments.items()
    }
    if isinstance(optimizer, torch.optim.SGD) and any(group["fused"] for group in optimizer.param_groups):
        taken = wanted | taken  # its kernel wants a momentum of every parameter or of none: of one without gradients it is 0
    found = {"state": taken, "param_groups": state["param_groups"]}
    if grows:
        try:
            first_step(optimizer, found)
        except Exception as error:  # what a class of the user's own raises
            message = f"{where}: optimizer cannot take a step with this state: {one_line(error)}"
            raise InputError(message, name=f"{where}: optimizer", allowed="a state of this optimizer") from error
    return found


def _check_groups(where: str, groups: Any, own: list[dict[str, Any]], kept: Collection[str]) -> None:
    """Check groups against the optimizer's own, of which the settings ``kept`` do not change in a training."""
    if not isinstance(groups, list) or len(groups) != len(own):
        raise InputError(name=where, value=groups, allowed=f"a list of {len(own)} groups")
    for number, (group, wanted) in enumerate(zip(groups, own, strict=True)):
        if not isinstance(group, dict) or group.keys() != wanted.keys():
            raise InputError(name=f"{where}.{number}", value=group, allowed=f"a mapping with the keys {', '.join(wanted)}")
        for key, like in wanted.items():
            name, value = f"{where}.{number}.{key}", group[key]
            if key in kept and not is_same(value, like):
                raise InputError(name=name, value=value, allowed=quoted(like))
            check_alike(name, value, like)
            if key == _LR and value < 0:
                raise InputError(name=name, value=value, allowed="a finite number >= 0")
            if key in _SHARES and not all(0 <= share <= 1 for share in (value if isinstance(value, tuple) else [value])):
                raise InputError(name=name, value=value, allowed="from 0 to 1")


def _taken(name: str, found: Any, wanted: dict[Any, Any], shape: torch.Size, grows: bool) -> dict[Any, Any]:
    """The state of one parameter; its tensors are those of ``wanted``, with the numbers of ``found``."""
    if not isinstance(found, dict) or not (found.keys() >= wanted.keys() if grows else found.keys() == wanted.keys()):
        raise InputError(name=name, value=found, allowed=f"a mapping with the keys {', '.join(map(str, wanted))}")
    taken = dict(found)
    for key, like in wanted.items():
        part, value = f"{name}.{key}", found[key]
        if isinstance(like, Tensor) and not (grows and like.shape not in (shape, ())):
            check_kind(part, value, like)
            check_finite(part, value)
            if not grows:
                _check_sign(part, str(key), value)
            taken[key] = like.copy_(value)
        elif not grows and type(value) is not type(like):
            raise InputError(name=part, value=value, allowed=f"of type {type(like).__name__}")
    return taken


def _check_sign(name: str, key: str, value: Tensor) -> None:
    if ("sq" in key or key in _NOT_NEGATIVE) and (value < 0).any():
        message = f"{name} holds negative values; it must be a square, a count or the size of a step"
        raise InputError(message, name=name, allowed="at least 0")
    if key == "step" and (value % 1).any():
        raise InputError(name=name, value=value.tolist(), allowed="a whole number")


def first_step(optimizer: torch.optim.Optimizer, state: dict[str, Any] | None = None) -> dict[str, Any]:
    """The ``state_dict`` that an optimizer has after its first step, which a copy takes with gradients of zero.

    With a ``state``, the copy takes the step from there.
    """
    memo: dict[int, Any] = {}
    twin = copy.deepcopy(optimizer, memo)
    missing = vars(optimizer).keys() - vars(twin).keys() - {"step"}  # a scheduler puts a step of its own there
    vars(twin).update({name: copy.deepcopy(vars(optimizer)[name], memo) for name in missing})
    if state is not None:
        twin.load_state_dict(copy.deepcopy(state))
    parameters = [parameter for group in twin.param_groups for parameter in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    with generators_kept(parameters[0].device):
        twin.step()
    found: dict[str, Any] = twin.state_dict()
    return found
