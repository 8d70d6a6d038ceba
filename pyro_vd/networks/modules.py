"""Modules that compact networks and regression networks need and that PyTorch lacks."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError

_SMALLEST = 1e-37
"""The smallest standard deviation whose inverse is a float32."""


class SelectInputs(nn.Module):
    """A selection of the inputs that a network reads: ``x.index_select(dim, index)``.

    Args:
        in_features: size of dimension ``dim`` of the input.
        out_features: how many features are selected.
        dim: the dimension of the features.

    Raises:
        InputError: when called, an input with another number of features.
    """

    index: Tensor

    def __init__(self, in_features: int, out_features: int, dim: int = -1) -> None:
        super().__init__()
        self.in_features: int = in_features
        self.out_features: int = out_features
        self.dim: int = dim
        self.register_buffer("index", torch.arange(out_features))

    def forward(self, x: Tensor) -> Tensor:
        if not -x.ndim <= self.dim < x.ndim or x.shape[self.dim] != self.in_features:
            allowed = f"of size {self.in_features} in dimension {self.dim}"
            given = tuple(x.shape)
            raise InputError(f"an input has the shape {given}; it must be {allowed}", name="x", value=given, allowed=allowed)
        return x.index_select(self.dim, self.index)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, dim={self.dim}"


class Standardize(nn.Module):
    """The first step of a network whose inputs have units: ``(x − mean) · scale`` along the last dimension.

    Mean and scale are buffers, 0 and 1 at first, so that a network that is saved takes inputs in their own units.

    Args:
        features: how many numbers an input has.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @property
    def features(self) -> int:
        """How many numbers an input has."""
        return len(self.mean)

    def fit(self, inputs: Tensor) -> Self:
        """Learn from these inputs ``(n, …, features)``, which are training data, and return the module itself.

        A feature gets mean 0 and standard deviation 1, one of zeros and ones too: otherwise the features of a category would be
        a further bias, and would stay for it. The scale of one that is constant is 0: the network never reads it.

        Raises:
            InputError: the inputs have another number of features.
        """
        if inputs.ndim < 2 or inputs.shape[-1] != self.features:
            given, allowed = tuple(inputs.shape), f"of shape (n, …, {self.features})"
            raise InputError(name="inputs", value=given, allowed=allowed)
        x = inputs.detach().double().flatten(0, -2)
        mean, std = x.mean(0), x.std(0, correction=0)
        is_constant = (x == x[0]).all(0) | (std < _SMALLEST)
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(is_constant, 0.0, 1 / std))
        return self

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.scale

    def extra_repr(self) -> str:
        return str(self.features)


class Rescale(nn.Module):
    """The last step of a network that is trained on standardized targets: ``std · x + mean``, in the targets' units.

    All targets share one mean and one standard deviation. They are buffers, 0 and 1 at first.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def fit(self, targets: Tensor) -> Self:
        """Set the mean and the standard deviation to those of these targets, and return the module itself.

        Raises:
            InputError: the targets are all equal.
        """
        mean, std = targets.double().mean(), targets.double().std(correction=0)
        if not std > 1e-12 * mean.abs():
            value = mean.item()
            raise InputError(f"training targets are all {value:g}; they must not all be equal", name="targets", value=value)
        self.mean.copy_(mean)
        self.std.copy_(std)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return x * self.std + self.mean
