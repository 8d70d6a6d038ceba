"""A draw of a layer's output as one node of autograd, for linear layers and convolutions.

One node computes the mean, the variance and the noise of the output. The squares of the inputs are made once and kept; of all
other intermediate results only noise/std is, of which the gradient of the variance is a multiple.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vd.networks.linear_map import LinearMap

EPS = 1e-16  # in √(var + ε): the slope of √ is infinite at 0, and inputs of zeros give var = 0 exactly
_CONVOLUTIONS: dict[Callable[..., Tensor], int] = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
_DEFAULTS: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1}
Geometry = tuple[list[int], list[int], list[int], int]
"""Stride, padding, dilation and groups of a convolution."""


def drawn_output(linear_map: LinearMap, arguments: Mapping[str, Any], mean: Tensor, variance: Tensor) -> Tensor | None:
    """Return a draw from N(f(x; θ) + b, f(x²; σ²)) by one node; None where the map f has no such node.

    Args:
        linear_map: f.
        arguments: those of its call by name, without the weight.
        mean: θ.
        variance: σ², in the shape of the weight.
    """
    x, bias = arguments[linear_map.inputs[0]], arguments.get("bias")
    dtype = variance.dtype
    if x.dtype != dtype or mean.dtype != dtype or not (bias is None or bias.dtype == dtype):
        return None
    if linear_map.function is F.linear:
        geometry = None
        if x.ndim < 2:
            return None
    else:
        rank = _CONVOLUTIONS.get(linear_map.function)
        if rank is None or x.ndim != rank + 2 or isinstance(arguments.get("padding"), str):
            return None
        stride, padding, dilation = (_tuple(arguments.get(name, value), rank) for name, value in _DEFAULTS.items())
        geometry = stride, padding, dilation, arguments.get("groups", 1)
    if torch._C._are_functorch_transforms_active():
        return None
    output: Tensor = _Drawn.apply(x, mean, variance, bias, geometry)
    return output


def _tuple(value: Any, rank: int) -> list[int]:
    given = [value] if isinstance(value, int) else list(value)
    return given * rank if len(given) == 1 else given


def _output(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry | None) -> Tensor:
    if geometry is None:
        return F.linear(x, weight, bias)
    stride, padding, dilation, groups = geometry
    return torch.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)


def _noisy(x: Tensor, mean: Tensor, variance: Tensor, bias: Tensor | None, noise: Tensor, geometry: Geometry | None) -> Tensor:
    """Return f(x; θ) + b + √(f(x²; σ²) + ε) · noise by single operations, which autograd can differentiate twice."""
    std = (_output(x.square(), variance, None, geometry) + EPS).sqrt()
    return torch.addcmul(_output(x, mean, bias, geometry), std, noise)


class _Drawn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, bias: Tensor | None, geometry: Geometry | None) -> Tensor:
        squares = x.square()
        output = _output(x, mean, bias, geometry)
        of_output = _output(squares, variance, None, geometry).add_(EPS)
        ratio = torch.randn_like(of_output).mul_(of_output.rsqrt())
        ctx.save_for_backward(x, squares, mean, variance, bias, ratio)
        ctx.geometry = geometry
        return output.addcmul_(of_output, ratio)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, squares, mean, variance, bias, ratio = ctx.saved_tensors
        needed, geometry = ctx.needs_input_grad[:4], ctx.geometry
        if torch.is_grad_enabled():  # for a second derivative
            leaves = [tensor for tensor, is_needed in zip((x, mean, variance, bias), needed, strict=True) if is_needed]
            noise = ratio * (_output(squares, variance, None, geometry) + EPS).sqrt()
            output = _noisy(x, mean, variance, bias, noise.detach(), geometry)
            found = iter(torch.autograd.grad(output, leaves, grad, create_graph=True))
            return *(next(found) if is_needed else None for is_needed in needed), None
        slope = grad * ratio  # twice the gradient of the output's variance, which is that of its square root over the root
        by_x, by_mean, by_bias = _gradients(grad, x, mean, bias, needed[0], needed[1], needed[3], geometry)
        by_squares, by_variance, _ = _gradients(slope.mul_(0.5), squares, variance, None, needed[0], needed[2], False, geometry)
        if by_x is not None and by_squares is not None:
            by_x = by_x.addcmul_(by_squares, x, value=2)
        return by_x, by_mean, by_variance, by_bias, None


def _gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    of_x: bool,
    of_weight: bool,
    of_bias: bool,
    geometry: Geometry | None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients by inputs, weight and bias of an output with this gradient, where they are wanted."""
    if geometry is not None:
        stride, padding, dilation, groups = geometry
        sizes = None if bias is None else [len(bias)]
        rest = stride, padding, dilation, False, [0] * len(stride), groups, [of_x, of_weight, of_bias]
        found: tuple[Tensor | None, Tensor | None, Tensor | None] = torch.ops.aten.convolution_backward(
            grad, x, weight, sizes, *rest
        )
        return found
    flat = grad.flatten(0, -2)
    return (
        torch.matmul(grad, weight) if of_x else None,
        flat.t() @ x.flatten(0, -2) if of_weight else None,
        flat.sum(0) if of_bias else None,
    )
