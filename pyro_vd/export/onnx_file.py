"""ONNX files of networks, for inputs of any size, run by ONNX Runtime. They need the extra ``onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from pyro_vd._core.arguments import check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd._core.messages import one_line
from pyro_vd._core.reading import read_bytes, reading
from pyro_vd._core.sealed import check_onnx_seal, seal_onnx
from pyro_vd._core.storage import write_atomically
from pyro_vd._core.threads import alone
from pyro_vd.compaction.front import default_example
from pyro_vd.export.file_network import FileNetwork, InputForm
from pyro_vd.export.graph import Dynamic, check_dynamic, check_same, probes, program
from pyro_vd.export.named_tensors import OUTPUT, named, named_inputs, unnamed
from pyro_vd.export.onnx_selection import with_fast_selections
from pyro_vd.export.recurrent_shapes import whole_recurrent_layers
from pyro_vd.networks.checks import check_inputs_of, check_module
from pyro_vd.networks.inputs import Inputs

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(float16)": torch.float16,
    **{f"tensor({kind})": getattr(torch, kind) for kind in ("bool", "uint8", "int8", "int16", "int32", "int64")},
}


def save_onnx(net: nn.Module, path: Path | str, example: Inputs | None = None, *, dynamic: Dynamic = (0,)) -> None:
    """Write an ONNX file, atomically, after comparing its outputs in ONNX Runtime with those of the network.

    A tensor is named ``input`` or ``output`` in the file; the tensors of a tuple are ``input_0``, ``input_1``, …; those of a
    mapping have the names of its keys. Outputs that are no tensors, such as caches, are left out.

    Args:
        net: the network.
        path: the file; replaced if it exists.
        example: inputs, each tensor ``(n, …)``, n ≥ 1: a tensor, a tuple, or a mapping of keywords; the file takes
            ``(any n, …)``. What is no tensor in it becomes part of the file. It can be left out where the first layer is linear
            and takes ``(batch, features)``.
        dynamic: the dimensions that may have any size, as for :func:`~.torch_file.save_torch_export`.

    Raises:
        InputError: the extra is not installed, the example does not fit, or the network cannot be exported or run.
        OSError: the disk is full or the folder is not writable; then nothing is changed.

    Examples:
        >>> import torch
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from torch import nn
        >>> from pyro_vd import load_onnx, save_onnx
        >>> path = Path(mkdtemp(), "net.onnx")
        >>> save_onnx(nn.Sequential(nn.Linear(4, 3)), path, torch.zeros(1, 4))
        >>> load_onnx(path)(torch.randn(10, 4)).shape
        torch.Size([10, 3])
    """
    path = check_path("path", path)
    check_module("net", net)
    content, _ = onnx_network(net, default_example(net) if example is None else example, dynamic=dynamic)
    write_atomically(Path(path), content)


@alone()  # exporters patch torch for all threads
def onnx_network(net: nn.Module, example: Inputs, *, dynamic: Dynamic = (0,)) -> tuple[bytes, nn.Module]:
    """Return the bytes of the file that :func:`save_onnx` writes, and the network that it holds, run by ONNX Runtime.

    Raises:
        InputError: see :func:`save_onnx`.
    """
    check_installed("ONNX", *_PACKAGES)
    from pyro_vd.export.onnx_rnn import rnn_translations

    example = check_inputs_of(net, example)
    sizes = check_dynamic(dynamic, example)
    pairs, graph = probes(net, example, sizes), program(with_fast_selections(net), example, sizes)
    try:
        with whole_recurrent_layers():
            exported = torch.onnx.export(
                graph,
                dynamo=True,
                verbose=False,
                input_names=list(named_inputs(example)),
                output_names=list(named(pairs[0][1], OUTPUT)),
                dynamic_shapes=_names_of_sizes(graph),
                custom_translation_table=rnn_translations(),
            )
        assert exported is not None
        content = seal_onnx(_without_traces(exported.model_proto))
        network = _network("the file", content)
    except Exception as error:  # the errors of both have no common type
        kind, why = type(net).__name__, one_line(error)[:200]
        raise InputError(f"{kind} cannot be written as ONNX and run by ONNX Runtime: {why}", name="net", value=kind) from error
    check_same("ONNX", network, pairs)
    return content, network


def load_onnx(path: Path | str) -> nn.Module:
    """Load a file that :func:`save_onnx` wrote, as a network that ONNX Runtime runs on the CPU with as many threads as torch.

    Raises:
        InputError: the extra is not installed; or the file is missing, broken, changed since it was written, or written by
            other software. Use ONNX Runtime itself for files of other software.

    Examples:
        >>> import torch
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from torch import nn
        >>> from pyro_vd import load_onnx, save_onnx
        >>> path = Path(mkdtemp(), "net.onnx")
        >>> save_onnx(nn.Sequential(nn.Linear(4, 3)), path, torch.zeros(1, 4))
        >>> load_onnx(path)(torch.randn(10, 4)).shape
        torch.Size([10, 3])
    """
    check_installed("ONNX", *_PACKAGES)
    path = check_path("path", path)
    with reading(path, what := "an ONNX file"):
        check_onnx_seal(str(path), what, content := read_bytes(path, what))
        return _network(str(path), content)


def _names_of_sizes(graph: ExportedProgram) -> tuple[dict[int, str], ...]:
    """The name of each dimension of any size, by input; the exporter wants the name of two equal sizes once."""
    known, names = set[str](), []
    for node in graph.graph.find_nodes(op="placeholder"):
        if node.name in graph.graph_signature.user_inputs:
            sizes = enumerate(getattr(node.meta["val"], "shape", ()))
            fresh = {d: str(size) for d, size in sizes if not isinstance(size, int) and str(size) not in known}
            known.update(fresh.values())
            names.append({d: "batch" if d == 0 else f"{node.name}_{d}" for d in fresh})
    return tuple(names)


def _without_traces(model: Any) -> bytes:
    """The bytes of the file without the exporter's notes about the machine and the code, a third of a small file."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("metadata_props")
    return bytes(model.SerializeToString())


def _network(where: str, content: bytes) -> nn.Module:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # its threads take no core between calls
    session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(tensors: dict[str, Tensor]) -> Any:
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        return unnamed(dict(zip(names, map(torch.from_numpy, session.run(names, arrays)), strict=True)), OUTPUT)

    return FileNetwork(
        where, run, {given.name: InputForm.of(given.shape, _TYPES.get(given.type)) for given in session.get_inputs()}
    )
