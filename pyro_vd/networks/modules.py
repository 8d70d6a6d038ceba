"""Modules that a compact network and a regression network have beside PyTorch's own."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError


class SelectInputs(nn.Module):
    """The inputs that a network reads: ``x.index_select(dim, index)``.

    Args:
        in_features: size of dimension ``dim`` of what is given.
        out_features: how many of them are taken.
        dim: the dimension.

    Raises:
        InputError: an input with another number of features.
    """

    index: Tensor

    def __init__(self, in_features: int, out_features: int, dim: int = -1) -> None:
        super().__init__()
        self.in_features, self.out_features, self.dim = in_features, out_features, dim
        self.register_buffer("index", torch.arange(out_features))

    def forward(self, x: Tensor) -> Tensor:
        if not -x.ndim <= self.dim < x.ndim or x.shape[self.dim] != self.in_features:
            raise InputError(f"an input of shape {tuple(x.shape)}; its dimension {self.dim} must be {self.in_features}")
        return x.index_select(self.dim, self.index)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, dim={self.dim}"


class Rescale(nn.Module):
    """The last step of a network that is trained on standardized targets: ``std · x + mean``, in the targets' own units.

    One mean and one standard deviation serve all targets; they are buffers, 0 and 1 at first.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def fit(self, targets: Tensor) -> Self:
        """Take the mean and the standard deviation of these targets; gives the module itself.

        Raises:
            InputError: they are all equal.
        """
        mean, std = targets.double().mean(), targets.double().std(correction=0)
        if not std > 1e-12 * mean.abs():
            raise InputError(f"training targets are all {mean.item():g}; there must be different ones")
        self.mean.copy_(mean)
        self.std.copy_(std)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return x * self.std + self.mean
