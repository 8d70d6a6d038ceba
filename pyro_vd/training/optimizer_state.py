"""Checks of an optimizer's state from a file, before any of it is loaded: fused kernels do not check sizes."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd._core.messages import quoted

_SCHEDULED = "lr"
"""The setting that a training changes at every step."""


def check_optimizer_state(where: str, state: Any, optimizer: torch.optim.Optimizer, fixed: bool = True) -> None:
    """Refuse a ``state_dict`` that does not belong to this optimizer over these parameters.

    Args:
        where: the file, for messages.
        state: anything.
        optimizer: one whose state has its form after the first step.
        fixed: whether all settings but the learning rate must be the optimizer's own. Otherwise numbers may differ, which a
            scheduler or the optimizer itself may change, such as a momentum.

    Raises:
        InputError: groups, settings, names, types or shapes that differ from the optimizer's; numbers that are not finite;
            negative step counts or squares.
    """
    after = first_step(optimizer)
    if not isinstance(state, dict) or set(state) != {"state", "param_groups"}:
        raise InputError(name=f"{where}: optimizer", value=state, allowed="a mapping with the keys state and param_groups")
    _check_groups(where, state["param_groups"], after["param_groups"], fixed)
    wanted, moments = after["state"], state["state"]
    if not isinstance(moments, dict) or not moments.keys() <= wanted.keys():
        raise InputError(
            name=f"{where}: optimizer.state", value=moments, allowed=f"a mapping from {len(wanted)} parameters, counted from 0"
        )
    for index, found in moments.items():
        name = f"optimizer.state.{index}"
        if not isinstance(found, dict) or found.keys() != wanted[index].keys():
            allowed = f"a mapping with the keys {', '.join(map(str, wanted[index]))}"
            raise InputError(name=f"{where}: {name}", value=found, allowed=allowed)
        for key, like in wanted[index].items():
            _check_value(f"{where}: {name}.{key}", found[key], like)


def _check_groups(where: str, groups: Any, own: list[dict[str, Any]], fixed: bool) -> None:
    if not isinstance(groups, list) or len(groups) != len(own):
        raise InputError(name=f"{where}: optimizer.param_groups", value=groups, allowed=f"a list of {len(own)} groups")
    for number, (group, wanted) in enumerate(zip(groups, own, strict=True)):
        if not isinstance(group, dict) or group.keys() != wanted.keys():
            allowed = f"a mapping with the keys {', '.join(wanted)}"
            raise InputError(name=f"{where}: optimizer.param_groups.{number}", value=group, allowed=allowed)
        for key, value in wanted.items():
            name = f"{where}: optimizer.param_groups.{number}.{key}"
            if not fixed and key != "params":
                check_alike(name, group[key], value)
            elif not (type(group[key]) is float if key == _SCHEDULED else _is_same(group[key], value)):
                raise InputError(name=name, value=group[key], allowed=quoted(value))


def _is_same(found: Any, own: Any) -> bool:
    if isinstance(own, list | tuple):
        return type(found) is type(own) and len(found) == len(own) and all(map(_is_same, found, own))
    return type(found) is type(own) and bool(found == own)


def _check_value(name: str, value: Any, like: Any) -> None:
    if not isinstance(like, Tensor):
        if type(value) is not type(like):
            raise InputError(name=name, value=value, allowed=f"of type {type(like).__name__}")
        return
    check_kind(name, value, like)
    if not torch.isfinite(value).all():
        raise InputError(f"{name} holds NaN or infinite values; all must be finite", name=name, allowed="finite")
    if ("sq" in name.rsplit(".", 1)[-1] or name.endswith(".step")) and (value < 0).any():
        raise InputError(f"{name} holds negative values; it must be a square or a count", name=name, allowed="at least 0")


def check_kind(name: str, value: Any, like: Tensor) -> None:
    """Refuse a value that is not a tensor of the type, shape and layout of ``like``.

    Raises:
        InputError: naming the type and shape that it has and those that it must have.
    """
    if type(value) is not Tensor or (value.dtype, value.shape, value.layout) != (like.dtype, like.shape, like.layout):
        kind = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        allowed = f"{like.dtype} {tuple(like.shape)}"
        raise InputError(f"{name} is {kind}; it must be {allowed}", name=name, value=kind, allowed=allowed)


def check_alike(name: str, value: Any, like: Any) -> None:
    """Refuse a value that is not of the form of another: equal keys, lengths, texts and types; numbers may differ.

    Raises:
        InputError: naming the part that differs.
    """
    if isinstance(like, Tensor):
        check_kind(name, value, like)
    elif isinstance(like, dict) and isinstance(value, dict) and value.keys() == like.keys():
        for key, part in like.items():
            check_alike(f"{name}.{key}", value[key], part)
    elif isinstance(like, list | tuple) and type(value) is type(like) and len(value) == len(like):
        for number, (part, wanted) in enumerate(zip(value, like, strict=True)):
            check_alike(f"{name}.{number}", part, wanted)
    elif not (_is_number(like) and _is_number(value) and not math.isnan(value)) and not _is_same(value, like):
        allowed = f"a mapping with the keys {', '.join(map(str, like))}" if isinstance(like, dict) else f"as {quoted(like)}"
        raise InputError(name=name, value=value, allowed=allowed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def first_step(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The ``state_dict`` that an optimizer has after its first step, which a copy takes with gradients of zero."""
    memo: dict[int, Any] = {}
    twin = copy.deepcopy(optimizer, memo)
    missing = vars(optimizer).keys() - vars(twin).keys() - {"step"}  # a scheduler puts a step of its own there
    vars(twin).update({name: copy.deepcopy(vars(optimizer)[name], memo) for name in missing})
    parameters = [parameter for group in twin.param_groups for parameter in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    with generators_kept(parameters[0].device):
        twin.step()
    state: dict[str, Any] = twin.state_dict()
    return state
