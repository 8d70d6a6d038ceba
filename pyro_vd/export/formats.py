"""All file formats for a plain network: how a file is named, written and loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from pyro_vd.export.onnx_file import load_onnx, save_onnx
from pyro_vd.export.pruned_file import Layout, description_of, load_pruned, save_pruned
from pyro_vd.export.torch_file import load_torch_export, save_torch_export
from pyro_vd.networks.inputs import Inputs


@dataclass(frozen=True)
class Format:
    """A file format: the end of the names of its files, and the functions that save and load a network."""

    what: str
    """What a file of this format holds, for the help of the command."""
    suffix: str
    save: Callable[[nn.Module, Path, Inputs, dict[str, Any]], None]
    load: Callable[[Path, nn.Module], nn.Module]
    """Loads the file that was saved of the network given with it, for files that do not describe theirs."""


def _save_safetensors(layout: Layout, net: nn.Module, path: Path, example: Inputs, info: dict[str, Any]) -> None:
    save_pruned(net, path, info, layout=layout)


def _save_onnx(net: nn.Module, path: Path, example: Inputs, info: dict[str, Any]) -> None:
    save_onnx(net, path, example)


def _save_torch(net: nn.Module, path: Path, example: Inputs, info: dict[str, Any]) -> None:
    save_torch_export(net, path, example)


def _load_safetensors(path: Path, saved: nn.Module) -> nn.Module:
    is_described = description_of(saved, {}, saved.state_dict())["architecture"] is not None
    return load_pruned(path, None if is_described else saved)


def _load_onnx(path: Path, saved: nn.Module) -> nn.Module:
    return load_onnx(path)


def _load_torch(path: Path, saved: nn.Module) -> nn.Module:
    return load_torch_export(path)


FORMATS = {
    "safetensors": Format("every weight", "-dense.safetensors", partial(_save_safetensors, "dense"), _load_safetensors),
    "sparse": Format("the non-zeros", "-sparse.safetensors", partial(_save_safetensors, "sparse"), _load_safetensors),
    "quantised": Format(
        "the non-zeros, with 64 different values per layer",
        "-quantised.safetensors",
        partial(_save_safetensors, "quantised"),
        _load_safetensors,
    ),
    "onnx": Format("for ONNX Runtime", ".onnx", _save_onnx, _load_onnx),
    "torch": Format("a .pt2 file of torch.export", ".pt2", _save_torch, _load_torch),
}
"""The formats by name, as ``pyro-vd export --format`` takes them."""
