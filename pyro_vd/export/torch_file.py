"""Files of ``torch.export`` (.pt2): a network's graph for batches of any size, which runs without the code of the network."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pyro_vd._core.arguments import check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd._core.reading import read_bytes, reading
from pyro_vd._core.sealed import check_zip, seal_zip
from pyro_vd._core.storage import write_atomically
from pyro_vd.networks.checks import check_example
from pyro_vd.networks.copies import copy_network

_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")
"""The entries of a graph that describe the machine and the code it was made with."""


class FileNetwork(nn.Module):
    """A graph that was read from a file, called like any network. It shows no parameters and is always in evaluation mode.

    Args:
        where: the file, for messages.
        run: computes the outputs for a batch.
        shape: of the inputs; None where any size is allowed.
        dtype: of the inputs; None if it is not known.
    """

    def __init__(
        self, where: str, run: Callable[[Tensor], Tensor], shape: Sequence[int | None], dtype: torch.dtype | None
    ) -> None:
        super().__init__()
        self.where: str = where
        self.run: Callable[[Tensor], Tensor] = run
        self.shape: tuple[int | None, ...] = tuple(shape)
        self.dtype: torch.dtype | None = dtype

    def forward(self, x: Tensor) -> Tensor:
        """The outputs for a batch ``x``, on the CPU.

        Raises:
            InputError: ``x`` is not a tensor, or it has another shape or type than the file was made for.
        """
        if not isinstance(x, Tensor):
            raise InputError(f"inputs are a {type(x).__name__}; they must be a tensor", name="x", value=x, allowed="a tensor")
        given = f"inputs of shape {tuple(x.shape)}, {x.dtype}, do not fit the network of {self.where}"
        fits = x.ndim == len(self.shape) and all(w in (None, size) for w, size in zip(self.shape, x.shape, strict=True))
        if not fits or self.dtype not in (None, x.dtype):
            wanted = ", ".join("any" if size is None else str(size) for size in self.shape)
            allowed = f"({wanted}), {self.dtype}"
            raise InputError(f"{given}: it takes {allowed}", name="x", value=(tuple(x.shape), x.dtype), allowed=allowed)
        try:
            return self.run(x)
        except Exception as error:  # the errors of what runs graphs have no common type
            raise InputError(f"{given}: {one_line(error)[:200]}", name="x", value=(tuple(x.shape), x.dtype)) from error


@torch.no_grad()
def probes(net: nn.Module, example: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Inputs and outputs of a network in evaluation mode on the CPU, for batches of 1 and of 7, to compare a file with.

    Raises:
        InputError: the example is empty, the network cannot take it, or its output is not one tensor.
    """
    if not example.ndim or not len(example):
        raise InputError(name="example", value=tuple(example.shape), allowed="of the shape of a batch, (n, …), n >= 1")
    net, pairs = copy_network(net).cpu().eval(), []
    for batch in (1, 7):
        x = example.cpu()[torch.arange(batch) % len(example)]
        try:
            y = net(x)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            shape = tuple(example.shape[1:])
            raise InputError(
                f"example of shape {shape}, {example.dtype}, does not fit the network: {one_line(error)}",
                name="example",
                value=shape,
            ) from error
        if not isinstance(y, Tensor):
            kind = type(y).__name__
            raise InputError(
                f"the network's output is a {kind}; it must be one tensor", name="net", value=y, allowed="one tensor"
            )
        pairs.append((x, y))
    return pairs


def program(net: nn.Module, example: Tensor) -> ExportedProgram:
    """The graph of a network in evaluation mode on the CPU, for any batch size; only the shape of ``example`` goes into it.

    Raises:
        InputError: the network cannot be exported for every batch size; the message says why.
    """
    net = copy_network(net).cpu().eval()
    blank = torch.zeros((2, *example.shape[1:]), dtype=example.dtype)  # the exporter would take a batch size of 1 as fixed
    try:
        graph = torch.export.export(net, (blank,), dynamic_shapes=({0: Dim("batch")},), strict=False)
    except Exception as error:  # the exporter raises whatever the network's code does, and errors of its own
        why = one_line(error)[:200]
        kind = type(net).__name__
        raise InputError(f"{kind} cannot be exported for batches of any size: {why}", name="net", value=kind) from error
    for node in graph.graph.nodes:
        for trace in _TRACES:
            node.meta.pop(trace, None)
    graph.example_inputs = None
    return graph


@torch.no_grad()
def check_same(kind: str, exported: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Refuse an exported network whose outputs differ from those of :func:`probes` by more than 1e-5 of the largest.

    Raises:
        InputError: saying by how much they differ.
    """
    for x, wanted in pairs:
        found = exported(x)
        if wanted.shape != found.shape:
            shape = tuple(found.shape)
            raise InputError(
                f"as {kind} the network gives {shape} for a batch of {len(x)}, not {tuple(wanted.shape)}",
                name="net",
                value=shape,
            )
        apart, largest = (wanted - found).abs().max().item(), wanted.abs().max().item()
        if not apart <= 1e-5 * max(1, largest):
            raise InputError(
                f"as {kind} the network is another function: for a batch of {len(x)}, an output differs by {apart:.1e}",
                name="net",
                value=apart,
            )


def save_torch_export(net: nn.Module, path: Path | str, example: Tensor) -> None:
    """Write a ``torch.export`` file, atomically, after comparing its outputs with those of the network.

    ``torch.export.load(path).module()`` reads it where pyro_vd is not installed. As with every file of PyTorch that holds more
    than tensors, load one only if you trust its writer.

    Args:
        net: the network.
        path: the file; replaced if it exists.
        example: inputs ``(n, …)``, n ≥ 1; the file takes ``(any n, …)``.

    Raises:
        InputError: the example does not fit, or the network cannot be exported; see :func:`program`.
        OSError: the disk is full or the folder is not writable; then nothing is changed.
    """
    path, example = check_path("path", path), check_example(net, example)
    pairs, buffer = probes(net, example), io.BytesIO()
    torch.export.save(program(net, example), buffer)
    content = seal_zip(buffer.getvalue())
    check_same("a torch.export file", _network("the file", content), pairs)
    write_atomically(Path(path), content)


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
    (name,) = program.graph_signature.user_inputs
    given = next(node.meta["val"] for node in program.graph.find_nodes(op="placeholder") if node.name == name)
    shape = [size if isinstance(size, int) else None for size in given.shape]
    return FileNetwork(where, program.module().forward, shape, given.dtype)
