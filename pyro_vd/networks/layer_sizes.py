"""Layers that are made smaller: their attributes follow the shapes of their tensors, and they remember the first shapes."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_vd.networks.layer_registry import kind_of
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.norms import CHANNEL_NORMS

Shape = tuple[int, ...] | None
"""The shape of a tensor; None where there was no tensor, such as a bias that was added later."""
Number = int | tuple[int, ...]
"""A size, or several, that a module keeps as an attribute."""


def take_sizes(layer: nn.Module) -> None:
    """Set a layer's attributes that hold sizes, such as ``in_features`` or ``num_features``, to the sizes of its tensors."""
    if isinstance(layer, SelectInputs):
        layer.out_features = len(layer.index)
    elif (kind := kind_of(layer)) is not None:
        kind.take_sizes(layer)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)
    elif isinstance(layer, nn.GroupNorm):
        of_group = layer.num_channels // layer.num_groups
        layer.num_channels = len(layer.weight)
        layer.num_groups = layer.num_channels // of_group
    elif isinstance(layer, CHANNEL_NORMS):
        sizes = [len(tensor) for tensor in (*layer.parameters(), *layer.buffers()) if tensor.ndim]
        layer.num_features = sizes[0]  # type: ignore[assignment]


def replace_tensor(layer: nn.Module, name: str, tensor: Tensor) -> None:
    """Put another tensor in the place of a parameter or buffer, or of a bias that was None; the layer's sizes follow.

    If its shape is another one, the layer remembers the first shape, which :func:`whole_shapes` returns.
    """
    old = getattr(layer, name)
    if old is None or old.shape != tensor.shape:
        _remember_shape(layer, name)
    like = next(layer.parameters()) if old is None else old
    new = tensor.contiguous()
    setattr(layer, name, nn.Parameter(new, like.requires_grad) if isinstance(like, nn.Parameter) else new)
    take_sizes(layer)


def replace_parameter(layer: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
    """Put a parameter of another layer, which both share, in the place of one; the layer's sizes follow."""
    _remember_shape(layer, name)
    setattr(layer, name, parameter)
    take_sizes(layer)


def _remember_shape(layer: nn.Module, name: str) -> None:
    """Note the shape that a tensor of a layer has before it is made smaller for the first time; copies of the layer keep it."""
    tensor = getattr(layer, name)
    vars(layer).setdefault("whole_shapes", {}).setdefault(name, None if tensor is None else tuple(tensor.shape))


def replace_number(module: nn.Module, name: str, value: Number) -> None:
    """Change a number, or a tuple of numbers, that a module keeps; the module remembers which, see :func:`changed_numbers`."""
    vars(module).setdefault("changed_numbers", set()).add(name)
    setattr(module, name, value)


def changed_numbers(net: nn.Module) -> dict[str, Number]:
    """The numbers that :func:`replace_number` has changed, by their names in the network."""
    return {
        f"{path}.{name}".lstrip("."): getattr(module, name)
        for path, module in net.named_modules()
        for name in sorted(vars(module).get("changed_numbers", ()))
    }


def whole_shapes(net: nn.Module) -> dict[str, Shape]:
    """The first shapes of the tensors that :func:`replace_tensor` has made smaller, by their names in the network."""
    modules = net.named_modules()
    return {
        f"{path}.{name}".lstrip("."): shape
        for path, module in modules
        for name, shape in vars(module).get("whole_shapes", {}).items()
    }
