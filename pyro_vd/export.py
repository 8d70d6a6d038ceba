"""A pruned network as one safetensors file that says how to build it; loading needs no Pyro and runs nothing from the file."""

from __future__ import annotations

import inspect
import json
import reprlib
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pyro_vd.arguments import check_choice, check_path
from pyro_vd.checks import check_state
from pyro_vd.errors import InputError
from pyro_vd.messages import one_line
from pyro_vd.networks import SUPPORTED_LAYERS, Rescale, SelectInputs
from pyro_vd.objects import check_module
from pyro_vd.sparse_file import pack, unpack
from pyro_vd.storage import checksum, write_atomically
from pyro_vd.tracing import check_hooks

_FORMAT = "pyro_vd network 1"
_BUILDABLE: dict[str, type[nn.Module]] = {
    layer.__name__: layer
    for layer in (
        *SUPPORTED_LAYERS,
        *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity, nn.Flatten),
        *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d),
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, SelectInputs, Rescale),
    )
}
"""Layers that a file may ask for, inside ``nn.Sequential``."""


_NUMBERS, _NUMBERS_A_BYTE = 2**24, 1000
"""How many numbers any sparse file may become, and how many for each of its bytes if that is more."""

Layout = Literal["dense", "sparse", "quantised"]


def save_pruned(net: nn.Module, path: Path | str, info: dict[str, Any] | None = None, *, layout: Layout = "dense") -> None:
    """Write a network's tensors and its architecture as one ``.safetensors`` file, atomically.

    Args:
        net: an ordinary network. Nested ``nn.Sequential`` of the usual layers is described in the file; any other, and one
            with a parameter in two places, must be given again to :func:`load_pruned`.
        path: the file; replaced if it exists.
        info: anything JSON can hold, kept beside it.
        layout: ``dense``; ``sparse``, the non-zeros only, see :func:`pyro_vd.sparse_file.pack`; ``quantised``, the same with
            every value replaced by the nearest of 64 a layer, see :func:`pyro_vd.quantisation.codebook`.

    Raises:
        InputError: a Bayesian network; forward hooks; an unknown layout; NaN or infinite weights to quantise.
        OSError: the disk is full or the folder not writable; nothing is changed then.
    """
    path = check_path("path", path)
    check_module("net", net)
    if hasattr(net, "plain_network"):
        raise InputError(f"{type(net).__name__} is no ordinary network; save what prune(model, guide) gives")
    check_hooks(net)
    check_choice("layout", layout, get_args(Layout))
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}
    tied = len(list(net.parameters())) < len(list(net.named_parameters(remove_duplicate=False)))
    architecture = None if tied else _describe(net)  # a description would untie them
    if layout != "dense":
        tensors = pack(tensors, quantised=layout == "quantised")
    described = {"architecture": architecture, "info": info or {}}
    described["crc32"] = _checksum(described, tensors)
    # One key: safetensors writes several in an order that changes from process to process.
    write_atomically(Path(path), save(tensors, {_FORMAT: _json(described)}))


def load_pruned(path: Path | str, net: nn.Module | None = None) -> nn.Module:
    """The network that :func:`save_pruned` wrote, in evaluation mode, on the CPU, its tensors dense.

    Args:
        path: the file.
        net: a network of the same architecture to fill, needed where the file does not describe it, or where more
            than 1000 numbers come from a byte of it.

    Raises:
        InputError: the file is missing, broken or foreign, or of another architecture.
    """
    path = check_path("path", path)
    if net is not None:
        check_module("net", net)
    described, stored = _read(path)
    given = net is not None
    if net is None:
        if described["architecture"] is None:
            raise InputError(
                f"{path} holds a network that is no nn.Sequential of known, separate layers: give load_pruned(path, net=...)"
            )
        with torch.device("meta"):  # no memory is taken before the sizes are checked
            net = _build(path, described["architecture"])
    wanted = net.state_dict()
    expanded = sum(tensor.numel() for name, tensor in wanted.items() if name not in stored)
    if not given and expanded > max(_NUMBERS, _NUMBERS_A_BYTE * (size := Path(path).stat().st_size)):
        raise InputError(
            f"{path} is of another architecture, or very sparse: its {size} bytes are to become {expanded} numbers; if they "
            "are, give load_pruned(path, net=...)"
        )
    tensors = unpack(str(path), stored, wanted)
    check_state(str(path), tensors, net)
    if described.get("crc32") not in (None, _checksum(described, stored)):
        raise InputError(f"{path} is corrupt: its checksum is not that of its content")
    for name, module in net.named_modules():
        if isinstance(module, SelectInputs):
            index, features = tensors[f"{name}.index".lstrip(".")], module.in_features
            if not (isinstance(features, int) and ((index >= 0) & (index < features)).all()):
                raise InputError(f"{path} is corrupt: {name}.index goes beyond its {features!r} inputs")
    net.load_state_dict(tensors, assign=not given)
    return net.eval()


def read_info(path: Path | str) -> dict[str, Any]:
    """What was given to :func:`save_pruned` as ``info``.

    Raises:
        InputError: the file is missing, broken or foreign.
    """
    info: dict[str, Any] = _read(Path(path))[0]["info"]
    return info


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's description, with ``architecture`` and ``info`` in it, and its tensors as they are stored."""
    if not path.is_file():
        raise InputError(f"file (={str(path)!r}) is not there; a network saved by pyro_vd is wanted")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is truncated or not a safetensors file: {error}") from error
    if _FORMAT not in metadata:
        raise InputError(f"{path} is not a network saved by pyro_vd: its metadata lack {_FORMAT!r}")
    try:
        described = {**json.loads(metadata[_FORMAT])}
        if not isinstance(described["info"], dict) or "architecture" not in described:
            raise TypeError("architecture or info is missing")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is corrupt: its metadata cannot be read: {one_line(error)}") from error
    return described, tensors


def _checksum(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of all that a file says."""
    value = zlib.crc32(_json([described["architecture"], described["info"]]).encode())
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = checksum([tensor], value)
    return value


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))


def _describe(module: nn.Module) -> Any:
    """JSON from which :func:`_build` makes an equal module; None where it cannot."""
    if type(module) is nn.Sequential:
        children = {name: _describe(child) for name, child in module._modules.items() if child is not None}  # repeats too
        return None if None in children.values() else {"Sequential": children}
    name = type(module).__name__
    if _BUILDABLE.get(name) is not type(module):
        return None
    arguments = {}
    for argument, default in _arguments(type(module)).items():
        value = getattr(module, argument)
        value = value is not None if argument == "bias" else value
        if value != default:
            arguments[argument] = value
    return {name: arguments}


def _arguments(layer: type[nn.Module]) -> dict[str, Any]:
    """What a file may say of a layer, and the defaults: not where its tensors are made, for that must be nowhere at first."""
    parameters = inspect.signature(layer).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in ("device", "dtype")}


def _build(path: Path | str, description: Any) -> nn.Module:
    if not isinstance(description, dict) or len(description) != 1:
        raise InputError(f"{path} is corrupt: {reprlib.repr(description)} does not describe a layer")
    ((name, arguments),) = description.items()
    if not isinstance(arguments, dict) or name not in ("Sequential", *_BUILDABLE):
        raise InputError(f"{path} asks for a layer {name!r}; allowed are Sequential, {', '.join(_BUILDABLE)}")
    try:
        if name == "Sequential":
            return nn.Sequential(OrderedDict((child, _build(path, part)) for child, part in arguments.items()))
        if unknown := [key for key in arguments if key not in _arguments(_BUILDABLE[name])]:
            raise TypeError(f"unknown arguments {', '.join(unknown)}")
        return _BUILDABLE[name](**{key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()})
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, KeyError, ArithmeticError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"{path} asks for {name}{reprlib.repr(arguments)}, which cannot be built: {why}") from error
