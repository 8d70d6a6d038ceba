"""The size of a network as it would be deployed, in parameters and bytes, computed without writing a file."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vd._core.messages import one_line
from pyro_vd._core.tensor_file import size_of
from pyro_vd.compaction.compacting import compacted, holds_zeros
from pyro_vd.export.pruned_file import MARK, Layout, description_of
from pyro_vd.export.sparse_file import packed_shapes
from pyro_vd.export.tied_weights import once
from pyro_vd.networks.copies import is_compiled
from pyro_vd.networks.inputs import Inputs, rows, to_device
from pyro_vd.runtime.sparse_runtime import SparseRuntime


@dataclass(frozen=True)
class DeployedSize:
    """The size of the compact network that :func:`~pyro_vd.compact` makes of a network, and of its files without ``info``.

    Both files are those that :func:`~pyro_vd.save_pruned` writes; their sizes are correct to within 16 bytes.
    """

    parameters: int
    """Number of parameters of the compact network, including biases, normalisation and zeros."""
    bytes: int
    """Bytes of the dense file, ``save_pruned(compact(net), path)``."""
    sparse_bytes: int
    """Bytes of the file of the non-zeros only, ``save_pruned(compact(net), path, layout="sparse")``."""
    not_compacted: str | None = None
    """Why :func:`~pyro_vd.compact` refuses a network with zeros; the numbers are then those of the uncompacted network."""


@dataclass(frozen=True)
class StoredSize:
    """The size of the non-zeros of a network that is not compacted; fast enough to compute after every epoch."""

    nonzero_parameters: int
    """Number of non-zero parameters, including biases and normalisation."""
    sparse_bytes: int
    """Bytes of the file ``save_pruned(net, path, layout="sparse")``, to within 16."""


@torch.no_grad()
def deployed_size(net: nn.Module, example: Inputs | None = None) -> DeployedSize | None:
    """Return the deployed size of an ordinary network; None if it has no parameters, as a network from an ONNX file.

    Args:
        net: the network, which is not changed. Of a result of :func:`~pyro_vd.runtime.sparsify_runtime`, the network inside is
            measured.
        example: inputs in any form, of which :func:`~pyro_vd.compact` gets the first.
    """
    if isinstance(net, SparseRuntime):
        net = net.net
    if not any(True for _ in net.parameters()):
        return None
    refused = None
    try:
        first = None if example is None else to_device(rows(example, slice(1)), next(net.parameters()).device)
        if holds_zeros(net) or any(map(is_compiled, net.modules())):  # otherwise it cannot become smaller
            found = compacted(net, first)
            net, refused = found.net, found.reason
    except Exception as error:  # a network's own code can raise anything; its size can still be measured
        refused = one_line(error)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return DeployedSize(parameters, _file_bytes(net, "dense"), _file_bytes(net, "sparse"), refused)


@torch.no_grad()
def stored_size(net: nn.Module) -> StoredSize:
    """Return the size of the non-zeros of an ordinary network."""
    nonzero = sum(int(torch.count_nonzero(parameter)) for parameter in net.parameters())
    return StoredSize(nonzero, _file_bytes(net, "sparse"))


def _file_bytes(net: nn.Module, layout: Layout) -> int:
    state = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    tensors = {name: _strided(value) for name, value in once(net, state).items()}
    if layout != "dense":
        tensors = packed_shapes(tensors)
    return size_of(MARK, description_of(net, {}, tensors), tensors)


def kilobytes(count: int) -> str:
    """Return a number of bytes as text in kilobytes (1000 bytes), such as ``15.4 kB``."""
    return f"{count / 1000:,.1f} kB"


def _strided(tensor: Tensor) -> Tensor:
    return tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()
