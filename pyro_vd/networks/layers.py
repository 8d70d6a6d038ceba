"""The layers of a plain network, whose weights can have a prior: in the order in which they run, with their widths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from pyro_vd.networks.execution import in_execution_order
from pyro_vd.networks.layer_kind import LayerKind
from pyro_vd.networks.layer_registry import exact_kind_of, layers_in


def named_layers(net: nn.Module) -> list[tuple[str, nn.Module, LayerKind]]:
    """Path, module and kind of every layer of a registered kind, in the order of execution.

    Where ``torch.fx`` cannot follow the network, they are in the order of registration.
    """
    found = list(layers_in(net))
    names = [[weight_name(path, name) for name in kind.weights(module)] for path, module, kind in found]
    return [found[place] for place in in_execution_order(net, names)]


def named_weights(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and value of every weight of a layer of a registered kind, in the order of execution.

    A shared weight comes once, where it is first used, under the name that ``net.named_parameters()`` has for it.
    """
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    seen: dict[int, Tensor] = {}  # keeps the tensors alive: a parametrized weight is a new tensor at every access
    for path, module, kind in named_layers(net):
        for name in kind.weights(module):
            weight = cast(Tensor, getattr(module, name))
            if id(weight) not in seen:
                seen[id(weight)] = weight
                yield names.get(id(weight), weight_name(path, name)), weight


def weight_name(path: str, name: str) -> str:
    """The name in a network of a parameter of the module at ``path``, which is empty for the network itself."""
    return f"{path}.{name}" if path else name


def widths(net: nn.Module) -> tuple[int, ...]:
    """Units per layer: inputs (channels) of the first layer, then outputs of every layer, as in 784-300-100-10."""
    units = [kind.units(module) for _, module, kind in named_layers(net)]
    return (units[0][0], *(outputs for _, outputs in units)) if units else ()


def as_matrix(layer: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """The weight ``(outputs, inputs)`` and the bias of a layer that computes ``x @ weight.T + bias``; None for any other."""
    kind = exact_kind_of(layer)
    if kind is None or kind.unit_axis(layer, 2) != 1 or not kind.is_uniform(layer) or (matrix := kind.matrix(layer)) is None:
        return None
    return None if matrix.shape[2] != 1 else (matrix[..., 0], getattr(layer, kind.bias, None))
