"""Noise of a layer's output if the layer applies its weight at several positions of each example."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pyro_vd._core.errors import InputError

OutputNoise = Literal["position", "example"]
"""How training draws the noise of outputs: per position, as in the paper, or once for all positions of an example."""


def check_output_noise(name: str, value: Any) -> None:
    """Refuse a value that is not an :data:`OutputNoise`.

    Raises:
        InputError: quoting the name and the value.
    """
    if not isinstance(value, str) or value not in get_args(OutputNoise):
        raise InputError(name=name, value=value, allowed=f"{' or '.join(map(repr, get_args(OutputNoise)))}")
