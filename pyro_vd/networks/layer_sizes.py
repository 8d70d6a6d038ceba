"""Layers that are made smaller: their sizes follow their tensors, and they remember what they were."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from pyro_vd.networks.layers import SUPPORTED_LAYERS, TRANSPOSED
from pyro_vd.networks.modules import SelectInputs

Shape = tuple[int, ...] | None
"""Of a tensor; None where there was none."""

RESIZABLE = (*SUPPORTED_LAYERS, nn.modules.batchnorm._NormBase, SelectInputs)
"""Layers that :func:`take_sizes` knows."""


def take_sizes(layer: nn.Module) -> None:
    """Give a layer the sizes of its tensors: ``in_features``, ``out_channels``, ``num_features`` and so on."""
    sized = cast(Any, layer)
    if isinstance(layer, SelectInputs):
        layer.out_features = len(layer.index)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, TRANSPOSED):
        sized.in_channels, sized.out_channels = sized.weight.shape[0], sized.weight.shape[1] * sized.groups
    elif isinstance(layer, SUPPORTED_LAYERS):
        sized.in_channels, sized.out_channels = sized.weight.shape[1] * sized.groups, sized.weight.shape[0]
    else:
        sized.num_features = next(len(tensor) for tensor in (*layer.parameters(), *layer.buffers()) if tensor.ndim)


def remember_shape(layer: nn.Module, name: str) -> None:
    """Before a tensor of a layer is made smaller: keep what its shape was at first. Copies of the layer know it as well."""
    tensor = getattr(layer, name)
    vars(layer).setdefault("whole_shapes", {}).setdefault(name, None if tensor is None else tuple(tensor.shape))


def whole_shapes(net: nn.Module) -> dict[str, Shape]:
    """What :func:`remember_shape` has kept, by the names of the tensors in the network."""
    modules = net.named_modules()
    return {
        f"{path}.{name}".lstrip("."): shape
        for path, module in modules
        for name, shape in vars(module).get("whole_shapes", {}).items()
    }
