"""An optimizer that goes on with smaller parameters: its state is that of the numbers that are left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd.guides.places import is_shared_along, places_left

Smaller = Mapping[nn.Parameter, tuple[nn.Parameter, Tensor | None]]
"""By parameter, the one that takes its place, and the places of its numbers in the one before; None where all are left."""


def check_can_shrink(optimizer: torch.optim.Optimizer, first: Mapping[str, Any]) -> None:
    """Refuse an optimizer with a state of which it cannot be told what belongs to which number of a parameter.

    Args:
        optimizer: the optimizer.
        first: the ``state_dict`` that it has after its first step.

    Raises:
        InputError: naming the part of its state.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parts in first["state"].items():
        for key, value in parts.items():
            if isinstance(value, Tensor) and value.numel() > 1 and not is_shared_along(value.shape, parameters[index].shape):
                raise InputError(
                    f"shrink (=True) needs an optimizer whose state has the shapes of the parameters; {key!r} of "
                    f"{quoted(type(optimizer).__name__)} has the shape {tuple(value.shape)}",
                    name="shrink",
                    value=True,
                    allowed="False with this optimizer",
                )


def take_smaller(optimizer: torch.optim.Optimizer, smaller: Smaller) -> None:
    """Put smaller parameters in the places of those that an optimizer trains, and select the state of what is left."""
    for group in optimizer.param_groups:
        before, group["params"] = group["params"], [_of(parameter, smaller) for parameter in group["params"]]
        for parameter in before:
            if parameter in smaller and parameter in optimizer.state:
                new, places = smaller[parameter]
                parts = optimizer.state.pop(parameter)
                optimizer.state[new] = {key: _left(value, parameter, places) for key, value in parts.items()}


def _of(parameter: nn.Parameter, smaller: Smaller) -> nn.Parameter:
    return smaller[parameter][0] if parameter in smaller else parameter


def _left(value: Any, parameter: Tensor, places: Tensor | None) -> Any:
    if places is None or not isinstance(value, Tensor) or value.numel() == 1:
        return value
    if not is_shared_along(value.shape, parameter.shape):
        return value
    return value.take(places_left(value.shape, parameter.shape, places.to(value.device))[0])
