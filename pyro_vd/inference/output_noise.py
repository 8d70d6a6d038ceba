"""Noise of a layer's output where the layer's weight serves several positions of each example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.networks.layer_registry import LINEAR_MAPS

OutputNoise = Literal["position", "example"]
"""How training draws outputs: at each position anew, as in the paper, or once for all positions of an example."""


def check_output_noise(name: str, value: Any) -> None:
    """Refuse what is no :data:`OutputNoise`.

    Raises:
        InputError: quoting the name and the value.
    """
    if not isinstance(value, str) or value not in get_args(OutputNoise):
        raise InputError(name=name, value=value, allowed=f"{' or '.join(map(repr, get_args(OutputNoise)))}")


def serves_one_position(linear_map: Callable[..., Tensor], output: Tensor) -> bool:
    """Whether each example has one position alone in the output of a linear map: both kinds of noise are the same then."""
    if (spatial := LINEAR_MAPS[linear_map].spatial) is None:
        return output.ndim <= 2
    return output.shape[-spatial:].numel() == 1


def example_noise(linear_map: Callable[..., Tensor], arguments: dict[str, Any], std: Tensor) -> Tensor:
    r"""The output's deviation f(x; σ∘ε) under one ε ~ N(0, 1) per weight, with signs that make examples differ (Flipout).

    The deviation of an example is s_out ∘ f(s_in ∘ x; σ∘ε), with a random sign for each of its input channels and each of its
    output channels, shared over its positions (Wen 2018, arXiv 1803.04386, section 3.1). That is f(x; σ∘ε′) with ε′ = ε ∘
    (s_out s_inᵀ), which is distributed as ε: for each example the deviation is exactly that of a drawn weight, and those of two
    examples are uncorrelated, though not independent.

    Args:
        linear_map: a linear map, convolution or transposed convolution.
        arguments: by name; ``input`` is ``(batch, …, features)`` of a linear map, ``(batch, channels, …)`` of a convolution.
        std: σ, in the shape of the weight.
    """
    x = arguments["input"]
    noise = {**arguments, "weight": std * torch.randn_like(std), "bias": None}
    deviation = linear_map(**{**noise, "input": x * _signs(linear_map, x)})
    return deviation * _signs(linear_map, deviation)


def _signs(linear_map: Callable[..., Tensor], values: Tensor) -> Tensor:
    """A random sign for each example and feature of an input or output, in a shape that broadcasts to it."""
    if (spatial := LINEAR_MAPS[linear_map].spatial) is None:
        shape = torch.Size((*values.shape[:-1][:1], *(1 for _ in values.shape[1:-1]), values.shape[-1]))
    else:
        shape = torch.Size((*values.shape[:-spatial], *(1 for _ in range(spatial))))  # (batch, channels, …) or (channels, …)
    return torch.empty(shape, dtype=values.dtype, device=values.device).bernoulli_().mul_(2).sub_(1)
