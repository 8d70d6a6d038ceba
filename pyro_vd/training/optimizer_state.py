"""Checks of an optimizer's state from a file, before any of it is loaded: fused kernels do not check sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted

_SCHEDULED = "lr"
"""The setting that a training changes at every step."""


def check_optimizer_state(where: str, state: Any, optimizer: torch.optim.Optimizer) -> None:
    """Refuse a ``state_dict`` that does not belong to this optimizer over these parameters.

    Args:
        where: the file, for messages.
        state: anything.
        optimizer: of a class that makes its state in its first step, as all of PyTorch do except LBFGS.

    Raises:
        InputError: groups, settings, names, types or shapes that differ from the optimizer's; numbers that are not finite;
            negative step counts or squares.
    """
    own = optimizer.state_dict()["param_groups"]
    if not isinstance(state, dict) or set(state) != {"state", "param_groups"}:
        raise InputError(name=f"{where}: optimizer", value=state, allowed="a mapping with the keys state and param_groups")
    _check_groups(where, state["param_groups"], own)
    wanted, moments = _first_state(optimizer), state["state"]
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


def _check_groups(where: str, groups: Any, own: list[dict[str, Any]]) -> None:
    if not isinstance(groups, list) or len(groups) != len(own):
        raise InputError(name=f"{where}: optimizer.param_groups", value=groups, allowed=f"a list of {len(own)} groups")
    for number, (group, wanted) in enumerate(zip(groups, own, strict=True)):
        if not isinstance(group, dict) or group.keys() != wanted.keys():
            allowed = f"a mapping with the keys {', '.join(wanted)}"
            raise InputError(name=f"{where}: optimizer.param_groups.{number}", value=group, allowed=allowed)
        for key, value in wanted.items():
            if not (type(group[key]) is float if key == _SCHEDULED else _is_same(group[key], value)):
                name = f"{where}: optimizer.param_groups.{number}.{key}"
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


def _first_state(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """The state that an optimizer of this class holds after one step, by index of the parameter."""
    groups = []
    for group in optimizer.param_groups:
        blank = [torch.zeros_like(parameter, requires_grad=True) for parameter in group["params"]]
        for parameter in blank:
            parameter.grad = torch.zeros_like(parameter)
        groups.append({**group, "params": blank})
    kind: Any = type(optimizer)
    twin = kind(groups)
    twin.step()
    state: dict[int, dict[str, Any]] = twin.state_dict()["state"]
    return state
