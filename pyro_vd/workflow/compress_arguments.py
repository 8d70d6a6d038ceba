"""The checks of what a compression is asked for, which need neither data nor a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pyro_vd._core.arguments import HIGHEST_LR, LARGEST, check_device, check_number
from pyro_vd._core.errors import InputError
from pyro_vd.workflow.compress_deploy import Deploy, check_deploy

Target = float | Literal["max"] | None
"""How many times fewer bytes; None where a latency is the target."""


@dataclass(frozen=True)
class Arguments:
    """Checked arguments of :func:`~pyro_vd.compress`, where they are described."""

    target: Target
    target_latency: float | None
    max_error_rise: float
    deploy: Deploy
    epochs: int | None
    lr: float | None
    seed: int


def check_arguments(
    *,
    target: Any,
    target_latency: Any,
    max_error_rise: Any,
    deploy: Any,
    epochs: Any,
    lr: Any,
    seed: Any = 0,
    device: Any = None,
) -> Arguments:
    """Check arguments of :func:`~pyro_vd.compress`.

    Raises:
        InputError: one is out of range, or both targets or none are given, or there is no such device.
    """
    if device is not None:
        check_device(device)
    return Arguments(
        *_check_targets(target, target_latency),
        max_error_rise=check_number("max_error_rise", max_error_rise, low=0, high=1),
        deploy=check_deploy(deploy),
        epochs=None if epochs is None else check_number("epochs", epochs, low=1, high=LARGEST, whole=True),
        lr=None if lr is None else check_number("lr", lr, low=0, high=HIGHEST_LR, low_open=True),
        seed=check_number("seed", seed, low=0, high=LARGEST, whole=True),
    )


def _check_targets(target: Any, latency: Any) -> tuple[Target, float | None]:
    if (target is None) == (latency is None):
        given = "both" if target is not None else "neither"
        allowed = f"a number or 'max', or None with a target_latency; {given} was given"
        raise InputError(name="target", value=target, allowed=allowed)
    if latency is not None:
        return None, check_number("target_latency", latency, low=0, low_open=True)
    if isinstance(target, str):
        if target != "max":
            raise InputError(name="target", value=target, allowed="a number above 1, or 'max'")
        return "max", None
    return float(check_number("target", target, low=1, low_open=True, high=1e6)), None
