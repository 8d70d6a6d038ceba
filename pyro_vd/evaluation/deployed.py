"""What would be deployed of a network: how many parameters and how many bytes, without writing a file."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vd._core.messages import one_line
from pyro_vd._core.tensor_file import size_of
from pyro_vd.compaction.compacting import compacted, holds_zeros
from pyro_vd.export.pruned_file import MARK, Layout, description_of
from pyro_vd.export.sparse_file import packed_shapes
from pyro_vd.networks.copies import is_compiled
from pyro_vd.runtime.sparsify import SparseRuntime


@dataclass(frozen=True)
class DeployedSize:
    """What would be deployed of a network: the smaller one that :func:`~pyro_vd.compact` gives, in a file without ``info``.

    Both files hold the same network and are those of :func:`~pyro_vd.save_pruned`; their sizes are right to within 16 bytes.
    """

    parameters: int
    """All of the compact network, biases and normalisation included, zeros as well."""
    bytes: int
    """Of its file, every number in it: ``save_pruned(compact(net), path)``."""
    sparse_bytes: int
    """Of its file of the non-zeros only: ``save_pruned(compact(net), path, layout="sparse")``."""
    not_compacted: str | None = None
    """Why :func:`~pyro_vd.compact` refuses a network that holds zeros: all these numbers are then of the network as it is."""


@dataclass(frozen=True)
class StoredSize:
    """What is kept of a network as it is, not compacted; fast enough to be counted after every epoch."""

    nonzero_parameters: int
    """Of all parameters, biases and normalisation included, those that are not zero."""
    sparse_bytes: int
    """Of the file ``save_pruned(net, path, layout="sparse")``, to within 16 bytes."""


@torch.no_grad()
def deployed_size(net: nn.Module, example: Tensor | None = None) -> DeployedSize | None:
    """What would be deployed of an ordinary network; None where it has no parameter to see, as one read from an ONNX file.

    Args:
        net: left as it is; of what :func:`~pyro_vd.runtime.sparsify_runtime` gives the network in it counts.
        example: as for :func:`~pyro_vd.compact`.
    """
    if isinstance(net, SparseRuntime):
        net = net.net
    if not any(True for _ in net.parameters()):
        return None
    refused = None
    try:
        if holds_zeros(net) or any(map(is_compiled, net.modules())):  # else it is as small as it can be
            net, _ = compacted(net, None if example is None else example[:1].to(next(net.parameters()).device))
    except Exception as error:  # a network's own code can raise anything, and what is measured can be measured all the same
        refused = one_line(error)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return DeployedSize(parameters, _file_bytes(net, "dense"), _file_bytes(net, "sparse"), refused)


@torch.no_grad()
def stored_size(net: nn.Module) -> StoredSize:
    """What is kept of an ordinary network."""
    nonzero = sum(int(torch.count_nonzero(parameter)) for parameter in net.parameters())
    return StoredSize(nonzero, _file_bytes(net, "sparse"))


def _file_bytes(net: nn.Module, layout: Layout) -> int:
    tensors = {name: _strided(value) for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    if layout != "dense":
        tensors = packed_shapes(tensors)
    return size_of(MARK, description_of(net, {}, tensors), tensors)


def kilobytes(count: int) -> str:
    """Bytes as a text: ``15.4 kB``, of a thousand bytes each."""
    return f"{count / 1000:,.1f} kB"


def _strided(tensor: Tensor) -> Tensor:
    return tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()
