"""The kinds of layers that are known, by the classes of their layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.networks.layer_kind import LayerKind
from pyro_vd.networks.linear_map import LinearMap

_KINDS: dict[type[nn.Module], LayerKind] = {}
_NAMED: dict[str, LayerKind] = {}

LINEAR_MAPS: dict[Callable[..., Tensor], LinearMap] = {}
"""The linear maps of all kinds, by function."""


def register_layer(kind: LayerKind) -> None:
    """Add a kind of layer: from then on its weights get a prior, are counted, pruned, compacted and saved.

    Args:
        kind: an instance of a subclass of :class:`~pyro_vd.networks.LayerKind`.

    Raises:
        InputError: ``kind`` is not such an instance; a class of the same name as one of its classes is registered already; or
            another kind describes one of its linear maps in another way.
    """
    if not isinstance(kind, LayerKind):
        raise InputError(name="kind", value=kind, allowed="an instance of a subclass of LayerKind")
    known = layer_classes()
    if taken := [layer.__name__ for layer in kind.modules if layer.__name__ in known]:
        raise InputError(
            f"classes named {', '.join(taken)} are registered already; every name must be different, as files hold the names",
            name="kind",
            value=kind,
        )
    for linear_map in kind.linear_maps:
        if LINEAR_MAPS.get(linear_map.function, linear_map) != linear_map:
            raise InputError(
                f"the linear map of {linear_map.function.__name__} is registered already, as "
                f"{LINEAR_MAPS[linear_map.function]}; a kind must describe it in the same way",
                name="kind",
                value=kind,
            )
    _KINDS.update(dict.fromkeys(kind.modules, kind))
    _NAMED.update(dict.fromkeys(kind.class_names, kind))
    LINEAR_MAPS.update({linear_map.function: linear_map for linear_map in kind.linear_maps})


def unregister_layer(kind: LayerKind) -> None:
    """Remove a kind of layer that :func:`register_layer` has added."""
    for layer in kind.modules:
        if _KINDS.get(layer) is kind:
            del _KINDS[layer]
    for name in kind.class_names:
        if _NAMED.get(name) is kind:
            del _NAMED[name]
    others = (*_KINDS.values(), *_NAMED.values())
    left = {linear_map.function: linear_map for other in others for linear_map in other.linear_maps}
    for function in LINEAR_MAPS.keys() - left.keys():
        del LINEAR_MAPS[function]
    LINEAR_MAPS.update(left)


def _of_class(kind: type[Any]) -> LayerKind | None:
    return _KINDS.get(kind) or _NAMED.get(f"{kind.__module__}.{kind.__qualname__}")


def kind_of(module: nn.Module) -> LayerKind | None:
    """The kind of a layer, or of the nearest class that it is derived from; None where there is none."""
    return next((kind for base in type(module).__mro__ if (kind := _of_class(base)) is not None), None)


def exact_kind_of(module: nn.Module | None) -> LayerKind | None:
    """The kind of a layer, but None for a layer of a derived class: its forward pass may be another."""
    return None if module is None else _of_class(type(module))


def linear_call(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[LinearMap, dict[str, Any]] | None:
    """The linear map that a call of a function is, with the arguments by name; None where it is none."""
    if (linear_map := LINEAR_MAPS.get(function)) is None:
        return None
    arguments = linear_map.by_name(args, kwargs)
    return (linear_map, arguments) if linear_map.applies(arguments) else None


def layer_classes() -> dict[str, type[nn.Module]]:
    """The classes of all kinds by name, in the order in which they were registered."""
    return {layer.__name__: layer for layer in _KINDS}


def described_classes() -> dict[str, type[nn.Module]]:
    """The classes of the layers that files describe, by name, in the order in which they were registered."""
    return {layer.__name__: layer for layer, kind in _KINDS.items() if kind.is_described}


def layers_in(net: nn.Module, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module, LayerKind]]:
    """Path, module and kind of every layer of a registered kind, in the order of registration in the network.

    Args:
        net: a network.
        remove_duplicate: whether a layer that has several paths is given once.
    """
    for path, module in net.named_modules(remove_duplicate=remove_duplicate):
        if (kind := kind_of(module)) is not None:
            yield path, module, kind


def own_weights(kind: LayerKind, layer: nn.Module) -> dict[str, Any]:
    """The weights of a layer that are parameters or buffers of its own, by name; those made of other parameters are missing."""
    own = {**layer._parameters, **layer._buffers}
    return {name: own[name] for name in kind.weights(layer) if name in own}
