"""The noise of a layer's output as one node of autograd, for linear layers and convolutions.

The squares of the inputs are made once and kept; intermediate results are not. Numbers are the bits of single operations.
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
Geometry = tuple[list[int], list[int], list[int], int]
"""Stride, padding, dilation and groups of a convolution."""


def noisy(mean: Tensor, x: Tensor, variance: Tensor, noise: Tensor, variance_of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return mean + √(f(x²; σ²) + ε) · noise by single operations, which autograd can differentiate twice."""
    return torch.addcmul(mean, (variance_of(x.square(), variance) + EPS).sqrt(), noise)


def drawn_output(linear_map: LinearMap, arguments: Mapping[str, Any], mean: Tensor, variance: Tensor) -> Tensor | None:
    """Return a draw from N(mean, f(x²; σ²)) by one node; None where the map f has no such node. ``mean`` is changed.

    Args:
        linear_map: f.
        arguments: those of its call by name, without the weight.
        mean: f(x; θ) + b, a result that is used for nothing else.
        variance: σ², in the shape of the weight.
    """
    x = arguments[linear_map.inputs[0]]
    if torch._C._are_functorch_transforms_active() or mean.dtype != variance.dtype or x.dtype != variance.dtype:
        return None
    if linear_map.function is F.linear:
        return _apply(mean, x, variance, None) if x.ndim >= 2 else None
    rank = _CONVOLUTIONS.get(linear_map.function)
    if rank is None or x.ndim != rank + 2 or isinstance(arguments.get("padding"), str):
        return None
    defaults = {"stride": 1, "padding": 0, "dilation": 1}
    stride, padding, dilation = (_tuple(arguments.get(name, value), rank) for name, value in defaults.items())
    return _apply(mean, x, variance, (stride, padding, dilation, arguments.get("groups", 1)))


def _tuple(value: Any, rank: int) -> list[int]:
    given = [value] if isinstance(value, int) else list(value)
    return given * rank if len(given) == 1 else given


def _apply(mean: Tensor, x: Tensor, variance: Tensor, geometry: Geometry | None) -> Tensor:
    output: Tensor = _Noisy.apply(mean, x, variance, geometry)
    return output


def _variance_of(geometry: Geometry | None) -> Callable[[Tensor, Tensor], Tensor]:
    if geometry is None:
        return F.linear
    stride, padding, dilation, groups = geometry
    zeros = [0] * len(stride)
    return lambda x, w: torch.convolution(x, w, None, stride, padding, dilation, False, zeros, groups)


class _Noisy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, x: Tensor, variance: Tensor, geometry: Geometry | None) -> Tensor:
        squares = x.square()
        std = _variance_of(geometry)(squares, variance).add_(EPS).sqrt_()
        noise = torch.randn_like(std)
        ctx.save_for_backward(x, squares, variance, std, noise)
        ctx.geometry = geometry
        if mean._is_view():  # as of several positions
            return torch.addcmul(mean, std, noise)
        ctx.mark_dirty(mean)
        return mean.addcmul_(std, noise)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, squares, variance, std, noise = ctx.saved_tensors
        of_x, of_variance = ctx.needs_input_grad[1:3]
        if torch.is_grad_enabled():  # for a second derivative
            wanted = [tensor for tensor, is_needed in ((x, of_x), (variance, of_variance)) if is_needed]
            output = noisy(torch.zeros_like(noise), x, variance, noise, _variance_of(ctx.geometry))
            found = iter(torch.autograd.grad(output, wanted, grad, create_graph=True))
            return grad, next(found) if of_x else None, next(found) if of_variance else None, None
        slope = (grad * noise).div_(std).mul_(0.5)  # the gradient of the output's variance
        if ctx.geometry is None:
            by_x = torch.matmul(slope, variance) if of_x else None
            by_variance = slope.flatten(0, -2).t() @ squares.flatten(0, -2) if of_variance else None
        else:
            stride, padding, dilation, groups = ctx.geometry
            rest = stride, padding, dilation, False, [0] * len(stride), groups, [of_x, of_variance, False]
            by_x, by_variance, _ = torch.ops.aten.convolution_backward(slope, squares, variance, None, *rest)
        return grad, None if by_x is None else by_x.mul_(x).mul_(2), by_variance, None
