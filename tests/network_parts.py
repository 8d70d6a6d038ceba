"""What random networks are made of: a random layer for values of a shape, and random numbers and zeros for all its tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.Softplus, nn.Identity)
BIASES = ("random", "random", "zero", "some zero")
ZEROS = ("rows", "columns", *["rows and columns"] * 3, "none", "random", "sparse", "all")
"""Which weights are zero: whole outputs, whole inputs, each with a chance, or all."""
WIDTHS = (4, 4, 4, 4, 6, 3, 1)
"""Mostly of one size, so that outputs can be added."""


@st.composite
def layers_for(draw: st.DrawFn, shape: tuple[int, ...], plain: bool) -> nn.Module:
    """A layer that takes examples of this shape, ``(features,)``, ``(n, features)`` or ``(channels, height, width)``.

    ``plain``: only what compaction passes units through.
    """
    if draw(st.integers(0, 4)) == 0:
        return _elementwise(draw)
    if len(shape) == 1:
        kinds = [_linear, _linear, _linear, _norm1d]
    elif len(shape) == 2:
        kinds = [_linear, _flatten]
    else:
        kinds = [*[_convolution] * 5, _transposed, _norm2d, _norm2d, _pooling, _pooling, _flatten, *[_linear] * (not plain)]
    layer: nn.Module = draw(st.sampled_from(kinds))(draw, shape, plain)
    return layer


def _elementwise(draw: st.DrawFn) -> nn.Module:
    kind = draw(st.sampled_from((*ACTIVATIONS, nn.Dropout)))
    return kind(inplace=True) if kind is nn.ReLU and draw(st.booleans()) else kind()


def _linear(draw: st.DrawFn, shape: tuple[int, ...], plain: bool) -> nn.Module:
    return nn.Linear(shape[-1], draw(st.sampled_from(WIDTHS)), bias=draw(st.booleans()))


def _norm1d(draw: st.DrawFn, shape: tuple[int, ...], plain: bool) -> nn.Module:
    others = [] if plain else [nn.LayerNorm(shape[0])]
    return draw(st.sampled_from([nn.BatchNorm1d(shape[0]), nn.BatchNorm1d(shape[0], affine=False), *others]))


def _norm2d(draw: st.DrawFn, shape: tuple[int, ...], plain: bool) -> nn.Module:
    others = [nn.GroupNorm(1, shape[0])] if not plain and math.prod(shape) > 1 else []  # torch refuses one number
    return draw(st.sampled_from([nn.BatchNorm2d(shape[0]), nn.BatchNorm2d(shape[0], affine=False), *others]))


def _flatten(draw: st.DrawFn, shape: tuple[int, ...], plain: bool) -> nn.Module:
    return nn.Flatten()


def _convolution(draw: st.DrawFn, shape: tuple[int, ...], plain: bool) -> nn.Module:
    channels, *sides = shape
    groups = 1 if plain else draw(st.sampled_from([1, channels, *(2,) * (channels % 2 == 0)]))
    outputs = groups * max(1, draw(st.sampled_from(WIDTHS)) // groups)
    options: dict[str, Any] = {"bias": draw(st.booleans()), "groups": groups}
    kernel, padding = draw(st.sampled_from([(3, 1), (3, "same"), (3, 1), (1, 0), (1, 1), (3, 0), (2, 0), (2, 1)]))
    if min(sides) < kernel:
        return nn.Conv2d(channels, outputs, 1, **options)
    if padding == 1:
        options["padding_mode"] = draw(st.sampled_from(["zeros", "zeros", "circular", "replicate"]))
    if padding != "same":
        options["stride"] = draw(st.sampled_from([1, 1, 1, 2]))
    return nn.Conv2d(channels, outputs, kernel, padding=padding, **options)


def _transposed(draw: st.DrawFn, shape: tuple[int, ...], plain: bool) -> nn.Module:
    channels, *sides = shape
    stride = 2 if max(sides) < 6 and draw(st.booleans()) else 1
    return nn.ConvTranspose2d(
        channels, draw(st.sampled_from(WIDTHS)), draw(st.sampled_from([1, 2, 3])), stride, bias=draw(st.booleans())
    )


def _pooling(draw: st.DrawFn, shape: tuple[int, ...], plain: bool) -> nn.Module:
    always = [nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d((2, 1)), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)]
    wide = [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AvgPool2d(3, 1, 1, count_include_pad=False)]
    return draw(st.sampled_from([*always, *wide] if min(shape[1:]) >= 2 else always))


@torch.no_grad()
def fill_at_random(draw: st.DrawFn, net: nn.Module) -> None:
    """Give every parameter and buffer random numbers, and every weight and bias zeros of a random pattern."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if not tensor.is_floating_point():
            continue
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
        if name.endswith("running_var"):
            tensor.abs_().add_(0.5)
        elif tensor.ndim > 1:
            fan_in = tensor[0].numel()
            tensor.mul_(fan_in**-0.5)
            zeros = draw(st.sampled_from(ZEROS))
            if "rows" in zeros:
                tensor[torch.rand(len(tensor), generator=generator) < 0.5] = 0
            if "columns" in zeros:
                tensor[:, torch.rand(tensor.shape[1], generator=generator) < 0.5] = 0
            if zeros in ("random", "sparse"):
                tensor.mul_(torch.rand(tensor.shape, generator=generator) < (0.5 if zeros == "random" else 0.1))
            if zeros == "all":
                tensor.zero_()
        elif name.endswith(("bias", "weight")) and (zeros := draw(st.sampled_from(BIASES))) != "random":
            tensor.mul_(torch.rand(tensor.shape, generator=generator) < (0.0 if zeros == "zero" else 0.5))
