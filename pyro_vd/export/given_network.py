"""Files that do not describe their network: they hold its sizes, to which a given network is then made smaller."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd.export.replaced_modules import replace_modules, replaced_modules
from pyro_vd.export.sparse_file import PARTS
from pyro_vd.export.tied_weights import tied_names
from pyro_vd.networks.checks import check_kinds
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.layer_sizes import changed_numbers, replace_number, replace_parameter, replace_tensor, whole_shapes
from pyro_vd.networks.modules import SelectInputs


def sizes_of(net: nn.Module, stored: Iterable[str]) -> dict[str, Any]:
    """Sizes of a network, for JSON.

    ``shapes`` are the shapes of the tensors that are not among the ``stored`` ones; ``whole`` are the shapes before compaction;
    ``numbers`` are those that compaction has changed in modules; ``attention``, ``embeddings`` and ``norms`` describe the
    modules that it has put in the place of others (:mod:`.replaced_modules`); ``front`` describes the selection of inputs that
    it has put in front, which the network of a user lacks.
    """
    stored = set(stored)
    front = list(net._modules.items())[:2] if type(net) is nn.Sequential else []
    inputs = next(((name, module) for name, module in front if isinstance(module, SelectInputs)), None)
    flatten = front[0][0] if inputs and isinstance(front[0][1], nn.Flatten) else None
    return {
        "shapes": {name: list(tensor.shape) for name, tensor in net.state_dict().items() if name not in stored},
        "whole": {name: None if shape is None else list(shape) for name, shape in whole_shapes(net).items()},
        "numbers": changed_numbers(net),
        **replaced_modules(net),
        "front": inputs and {"flatten": flatten, "name": inputs[0], "features": inputs[1].in_features, "dim": inputs[1].dim},
    }


def in_the_sizes_of(where: str, net: nn.Module, sizes: Mapping[str, Any], stored: Mapping[str, Tensor]) -> nn.Module:
    """Copy ``net`` and give its layers the sizes that they have in the file. The weights of the copy are to be overwritten.

    Args:
        where: the file, for messages.
        net: a network with the sizes from before compaction, or with those of the file.
        sizes: made by :func:`sizes_of`; they come from the file and are not trusted.
        stored: the file's tensors.

    Raises:
        InputError: the network has other sizes than the network of the file had; or ``sizes`` are not valid.
    """
    net = copy_network(net)
    try:
        packed = {f"{name}.{part}" for name in sizes["shapes"] for part in PARTS}
        shapes = {name: tuple(shape) for name, shape in sizes["shapes"].items()}
        shapes |= {name: tuple(tensor.shape) for name, tensor in stored.items() if name not in packed}
        if sizes["front"] is not None:
            net = _behind_selection(net, shapes, **sizes["front"])
        replace_modules(net, sizes, shapes)
        for key, number in sizes.get("numbers", {}).items():
            _change(net, key, number)
        tied = {name: first for name, first in tied_names(net).items() if shapes.get(name) == shapes.get(first)}
        for key, before in sizes["whole"].items():
            _resize(where, net, key, None if before is None else tuple(before), shapes[key])
        for name, first in tied.items():
            if name not in stored and f"{name}.{PARTS[0]}" not in stored:
                _tie(net, name, first)
        own = net.state_dict()
        like = {name: torch.empty(shape, device="meta", dtype=_dtype(name, own, stored)) for name, shape in shapes.items()}
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{where} is corrupt, or of another architecture: its sizes do not fit: {one_line(error)}", name=where
        ) from error
    check_kinds(where, like, own)
    return net


def _dtype(name: str, own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> torch.dtype:
    """The type of the network's tensor, as a file has integers in smaller types; else the type of the file's tensor."""
    return own[name].dtype if name in own else stored[name].dtype if name in stored else torch.float32


def _behind_selection(
    net: nn.Module, shapes: Mapping[str, tuple[int, ...]], *, flatten: str | None, name: str, features: int, dim: int
) -> nn.Module:
    """Put a selection of inputs in front of a network, as :func:`~pyro_vd.compact` does."""
    children: dict[str, nn.Module | None] = dict(net._modules) if type(net) is nn.Sequential else {"net": net}
    if any(isinstance(child, SelectInputs) for child in list(children.values())[:2]):
        return net
    if not (isinstance(features, int) and isinstance(dim, int)):
        raise TypeError(f"features {features!r} and dim {dim!r} must be integers")
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), None)
    front: dict[str, nn.Module | None] = {}
    if flatten is not None:
        front[flatten] = children.pop(flatten) if isinstance(children.get(flatten), nn.Flatten) else nn.Flatten()
    front[name] = SelectInputs(features, min(shapes[f"{name}.index"][0], features), dim).to(device)
    whole = {**front, **children}
    return nn.Sequential(OrderedDict((child, module) for child, module in whole.items() if module is not None))


def _change(net: nn.Module, key: str, value: Any) -> None:
    """Change a number, or a tuple of numbers, that a module keeps, to smaller ones."""
    path, _, name = key.rpartition(".")
    module = net.get_submodule(path)
    own = vars(module)[name]
    before, after = (number if isinstance(number, tuple | list) else (number,) for number in (own, value))
    if not all(type(n) is int and type(most) is int and 0 < n <= most for n, most in zip(after, before, strict=True)):
        raise ValueError(f"{key} cannot have been made {value} of {own}")
    replace_number(module, name, tuple(after) if isinstance(own, tuple) else after[0])


def _tie(net: nn.Module, name: str, first: str) -> None:
    """Let a parameter that was shared before its layers were made smaller be shared again."""
    path, _, own = name.rpartition(".")
    if net.get_parameter(name) is not (parameter := net.get_parameter(first)):
        replace_parameter(net.get_submodule(path), own, parameter)


def _resize(where: str, net: nn.Module, key: str, before: tuple[int, ...] | None, after: tuple[int, ...]) -> None:
    """Make one tensor of a layer smaller, from the shape that it had before compaction."""
    path, _, name = key.rpartition(".")
    layer = net.get_submodule(path)
    own = getattr(layer, name)
    shape = None if own is None else tuple(own.shape)
    if shape == after:
        return
    if shape != before:
        raise InputError(
            f"{where} is of another architecture: {key} was {before} before it was made {after}, not {shape}",
            name=where,
            value=shape,
        )
    like = cast(Tensor, layer.weight if own is None else own)
    most = (like.numel(),) if before is None else before
    if len(after) != len(most) or not all(0 < size <= largest for size, largest in zip(after, most, strict=True)):
        raise ValueError(f"{key} cannot have been made {after} of {before}")
    replace_tensor(layer, name, like.detach().new_zeros(after))
