"""ONNX files of networks, for batches of any size, run by ONNX Runtime. They need the extra ``onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd._core.messages import one_line
from pyro_vd._core.reading import read_bytes, reading
from pyro_vd._core.sealed import check_onnx_seal, seal_onnx
from pyro_vd._core.storage import write_atomically
from pyro_vd.export.torch_file import FileNetwork, check_same, probes, program
from pyro_vd.networks.checks import check_example

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_TYPES = {"tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16}


def save_onnx(net: nn.Module, path: Path | str, example: Tensor) -> None:
    """Write an ONNX file with one ``input`` and one ``output``, atomically, after comparing its outputs in ONNX Runtime.

    Args:
        net: the network.
        path: the file; replaced if it exists.
        example: inputs ``(n, …)``, n ≥ 1; the file takes ``(any n, …)``.

    Raises:
        InputError: the extra is not installed, the example does not fit, or the network cannot be exported or run.
        OSError: the disk is full or the folder is not writable; then nothing is changed.
    """
    check_installed("ONNX", *_PACKAGES)
    path, example = check_path("path", path), check_example(net, example)
    pairs, graph = probes(net, example), program(net, example)
    try:
        exported = torch.onnx.export(
            graph, dynamo=True, verbose=False, input_names=["input"], output_names=["output"], dynamic_shapes=({0: "batch"},)
        )
        assert exported is not None
        content = seal_onnx(_without_traces(exported.model_proto))
        network = _network("the file", content)
    except Exception as error:  # the errors of both have no common type
        kind, why = type(net).__name__, one_line(error)[:200]
        raise InputError(f"{kind} cannot be written as ONNX and run by ONNX Runtime: {why}", name="net", value=kind) from error
    check_same("ONNX", network, pairs)
    write_atomically(Path(path), content)


def load_onnx(path: Path | str) -> nn.Module:
    """Load a file that :func:`save_onnx` wrote, as a network that ONNX Runtime runs on the CPU with as many threads as torch.

    Raises:
        InputError: the extra is not installed; or the file is missing, broken, changed since it was written, or written by
            other software. Use ONNX Runtime itself for files of other software.
    """
    check_installed("ONNX", *_PACKAGES)
    path = check_path("path", path)
    with reading(path, what := "an ONNX file"):
        check_onnx_seal(str(path), what, content := read_bytes(path, what))
        return _network(str(path), content)


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
    (given,) = session.get_inputs()
    shape = [size if isinstance(size, int) else None for size in given.shape]

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {given.name: x.detach().cpu().numpy()})[0])

    return FileNetwork(where, run, shape, _TYPES.get(given.type))
