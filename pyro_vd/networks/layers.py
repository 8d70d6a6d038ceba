"""Plain networks, nothing of Pyro in them: those of the literature as ``nn.Sequential``, and the weights of any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from pyro_vd.networks.execution import in_execution_order

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers whose weight has its inputs first."""
SUPPORTED_LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
"""Layers whose weight can have a prior, be pruned and be counted."""


def weight_axes(layer: nn.Module, ndim: int) -> tuple[str, ...]:
    """What the dimensions of a supported layer's weight stand for: ``out``, ``in`` and the kernel's, in the weight's order."""
    return (*(("in", "out") if isinstance(layer, TRANSPOSED) else ("out", "in")), *(f"kernel_{k}" for k in range(ndim - 2)))


def named_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Path and module of every supported layer, in the order of execution; of registration where ``torch.fx`` cannot follow."""
    found = [(path, module) for path, module in net.named_modules() if isinstance(module, SUPPORTED_LAYERS)]
    return [found[place] for place in in_execution_order(net, [[f"{path}.weight"] for path, _ in found], SUPPORTED_LAYERS)]


def named_weights(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and weight of every supported layer, in the order of :func:`named_layers`.

    A shared weight comes once, where it is first used, under the name that ``net.named_parameters()`` has for it.
    """
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    seen: dict[int, Tensor] = {}  # holds the tensors: a parametrized weight is a new one at every access
    for path, module in named_layers(net):
        weight = cast(Tensor, module.weight)
        if id(weight) not in seen:
            seen[id(weight)] = weight
            yield names.get(id(weight), f"{path}.weight" if path else "weight"), weight


def widths(net: nn.Module) -> tuple[int, ...]:
    """Units per layer: inputs (channels) of the first supported layer, then outputs of every one, as in 784-300-100-10."""
    shapes = [_units(module) for _, module in named_layers(net)]
    return (shapes[0][0], *(outputs for _, outputs in shapes)) if shapes else ()


def _units(layer: nn.Module) -> tuple[int, int]:
    names = ("in_features", "out_features") if isinstance(layer, nn.Linear) else ("in_channels", "out_channels")
    return cast(tuple[int, int], tuple(getattr(layer, name) for name in names))
