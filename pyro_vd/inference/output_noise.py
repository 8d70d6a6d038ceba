"""Noise of a layer's output if the layer applies its weight at several positions of each example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.networks.layer_registry import LINEAR_MAPS

OutputNoise = Literal["position", "example"]
"""How training draws the noise of outputs: per position, as in the paper, or once for all positions of an example."""


def check_output_noise(name: str, value: Any) -> None:
    """Refuse a value that is not an :data:`OutputNoise`.

    Raises:
        InputError: quoting the name and the value.
    """
    if not isinstance(value, str) or value not in get_args(OutputNoise):
        raise InputError(name=name, value=value, allowed=f"{' or '.join(map(repr, get_args(OutputNoise)))}")


def serves_one_position(linear_map: Callable[..., Tensor], output: Tensor) -> bool:
    """Whether each example has only one position in the output of a linear map; both kinds of noise are then the same."""
    if (spatial := LINEAR_MAPS[linear_map].spatial) is None:
        return output.ndim <= 2
    return output.shape[-spatial:].numel() == 1


def example_noise(linear_map: Callable[..., Tensor], arguments: dict[str, Any], std: Tensor) -> Tensor:
    r"""Draw the output's deviation f(x; σ∘ε) for one ε ~ N(0, 1) per weight, with random signs per example (Flipout).

    The deviation of an example is s_out ∘ f(s_in ∘ x; σ∘ε), with one random sign per input channel and per output channel,
    shared by all its positions (Wen 2018, arXiv 1803.04386, section 3.1). It equals f(x; σ∘ε′) with ε′ = ε ∘ (s_out s_inᵀ),
    and ε′ has the distribution of ε. So the deviation of each example is exactly that of a drawn weight, and the deviations of
    two examples are uncorrelated, though not independent.

    Args:
        linear_map: a linear map, convolution or transposed convolution.
        arguments: its arguments by name; ``input`` is ``(batch, …, features)`` for a linear map, ``(batch, channels, …)`` for a
            convolution.
        std: σ, in the shape of the weight.
    """
    x = arguments["input"]
    noise = {**arguments, "weight": std * torch.randn_like(std), "bias": None}
    deviation = linear_map(**{**noise, "input": x * _signs(linear_map, x)})
    return deviation * _signs(linear_map, deviation)


def _signs(linear_map: Callable[..., Tensor], values: Tensor) -> Tensor:
    """Draw one random sign per example and feature, in a shape that broadcasts to ``values``, an input or output."""
    if (spatial := LINEAR_MAPS[linear_map].spatial) is None:
        shape = torch.Size((*values.shape[:-1][:1], *(1 for _ in values.shape[1:-1]), values.shape[-1]))
    else:
        shape = torch.Size((*values.shape[:-spatial], *(1 for _ in range(spatial))))  # (batch, channels, …) or (channels, …)
    return torch.empty(shape, dtype=values.dtype, device=values.device).bernoulli_().mul_(2).sub_(1)
