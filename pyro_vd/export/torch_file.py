"""Files of ``torch.export`` (.pt2): a network's graph for inputs of any size, which runs without the code of the network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_unflatten

from pyro_vd._core.arguments import check_path
from pyro_vd._core.reading import read_bytes, reading
from pyro_vd._core.sealed import check_zip, seal_zip
from pyro_vd._core.storage import write_atomically
from pyro_vd._core.threads import alone
from pyro_vd.export.file_network import FileNetwork, InputForm
from pyro_vd.export.graph import Dynamic, check_dynamic, check_same, probes, program
from pyro_vd.export.named_tensors import named_inputs
from pyro_vd.networks.checks import check_inputs_of
from pyro_vd.networks.inputs import Inputs


@alone()  # exporters patch torch for all threads
def save_torch_export(net: nn.Module, path: Path | str, example: Inputs, *, dynamic: Dynamic = (0,)) -> None:
    """Write a ``torch.export`` file, atomically, after comparing its outputs with those of the network.

    ``torch.export.load(path).module()`` reads it where pyro_vd is not installed. As with every file of PyTorch that holds more
    than tensors, load one only if you trust its writer.

    Args:
        net: the network.
        path: the file; replaced if it exists.
        example: inputs, each tensor ``(n, …)``, n ≥ 1: a tensor, a tuple, or a mapping of keywords; the file takes the same
            form, ``(any n, …)``. What is no tensor in it becomes part of the file.
        dynamic: the dimensions that may have any size, beside dimension 0: ``(0, 1)`` where dimension 1 is the length of a
            sequence; or by the name of an input, ``{"input_ids": (1,)}``, the inputs of a tuple being ``input_0``, ``input_1``.

    Raises:
        InputError: the example does not fit, or the network cannot be exported; see :func:`~.graph.program`.
        OSError: the disk is full or the folder is not writable; then nothing is changed.
    """
    path, example = check_path("path", path), check_inputs_of(net, example)
    sizes, buffer = check_dynamic(dynamic, example), io.BytesIO()
    pairs = probes(net, example, sizes)
    torch.export.save(program(net, example, sizes), buffer)
    content = bytes(seal_zip(buffer))
    check_same("a torch.export file", _network("the file", content), pairs)
    write_atomically(Path(path), content)


@alone()
def load_torch_export(path: Path | str) -> nn.Module:
    """Load a network that :func:`save_torch_export` wrote. Do this only if you trust the writer of the file.

    Raises:
        InputError: the file is missing, broken, changed since it was written, or written by other software. Use
            ``torch.export.load`` for files of other software.
    """
    path = check_path("path", path)
    with reading(path, what := "a torch.export file"):
        check_zip(str(path), what, content := read_bytes(path, what))
        return _network(str(path), content)


def _network(where: str, content: bytes) -> nn.Module:
    program = torch.export.load(io.BytesIO(content))
    module, spec = program.module(), program.call_spec.in_spec
    placeholders = {node.name: node.meta["val"] for node in program.graph.find_nodes(op="placeholder")}
    # In place of a tensor there is the name of its placeholder; what is no tensor stands for itself.
    leaves = [placeholders.get(leaf, leaf) if isinstance(leaf, str) else leaf for leaf in program.graph_signature.user_inputs]

    def run(tensors: dict[str, Tensor]) -> Any:
        given = iter(tensors.values())
        args, kwargs = tree_unflatten([next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec)
        return module(*args, **kwargs)

    args, kwargs = tree_unflatten(leaves, spec)
    return FileNetwork(
        where, run, {name: InputForm.of(like.shape, like.dtype) for name, like in named_inputs(kwargs or args).items()}
    )
