"""Plain networks, nothing of Pyro in them: those of the literature as ``nn.Sequential``, and the weights of any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Self, cast

import torch
from torch import Tensor, nn

from pyro_vd.arguments import check_rate
from pyro_vd.errors import InputError
from pyro_vd.execution import in_execution_order

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers whose weight has its inputs first."""
SUPPORTED_LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
"""Layers whose weight can have a prior, be pruned and be counted."""


def mlp(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Fully connected ReLU network; any input is flattened to ``(batch, sizes[0])``, the output is ``(batch, sizes[-1])``.

    Args:
        sizes: numbers of units, input first, output last; at least two, each at least 1.
        dropout: rate of ordinary dropout on the hidden units, in [0, 1).

    Raises:
        InputError: fewer than two sizes, one below 1, or a rate out of range.
    """
    dropout = check_rate("dropout", dropout)
    if len(sizes) < 2 or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise InputError(f"sizes (={list(sizes)!r}) must be at least two integers, each at least 1: input, …, output")
    layers: list[nn.Module] = [nn.Flatten()]
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        if index:
            layers += [nn.ReLU(), nn.Dropout(dropout)] if dropout else [nn.ReLU()]
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


def weight_axes(layer: nn.Module, ndim: int) -> tuple[str, ...]:
    """What the dimensions of a supported layer's weight stand for: ``out``, ``in`` and the kernel's, in the weight's order."""
    return (*(("in", "out") if isinstance(layer, TRANSPOSED) else ("out", "in")), *(f"kernel_{k}" for k in range(ndim - 2)))


def named_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Path and module of every supported layer, in the order of execution; of registration where ``torch.fx`` cannot follow."""
    found = [(path, module) for path, module in net.named_modules() if isinstance(module, SUPPORTED_LAYERS)]
    return [found[place] for place in in_execution_order(net, [[f"{path}.weight"] for path, _ in found], SUPPORTED_LAYERS)]


def named_weights(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and weight of every supported layer, in the order of :func:`named_layers`; a shared weight once."""
    seen: dict[int, Tensor] = {}  # holds the tensors: a parametrized weight is a new one at every access
    for path, module in named_layers(net):
        weight = cast(Tensor, module.weight)
        if id(weight) not in seen:
            seen[id(weight)] = weight
            yield f"{path}.weight" if path else "weight", weight


def widths(net: nn.Module) -> tuple[int, ...]:
    """Units per layer: inputs (channels) of the first supported layer, then outputs of every one, as in 784-300-100-10."""
    shapes = [_units(module) for _, module in named_layers(net)]
    return (shapes[0][0], *(outputs for _, outputs in shapes)) if shapes else ()


def _units(layer: nn.Module) -> tuple[int, int]:
    names = ("in_features", "out_features") if isinstance(layer, nn.Linear) else ("in_channels", "out_channels")
    return cast(tuple[int, int], tuple(getattr(layer, name) for name in names))


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
