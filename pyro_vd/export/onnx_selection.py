"""The selection of inputs in an ONNX file, in the form that ONNX Runtime computes fastest."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.modules import SelectInputs


class SelectRows(nn.Module):
    """Selects the same inputs as a :class:`~pyro_vd.networks.SelectInputs`, of ``(n, features)`` as rows of the transpose.

    A row of the transpose is one block of memory. Of 320 from 784 inputs of 64 examples ONNX Runtime makes one copy per number
    otherwise, which took longer than the rest of a small network; the linear layer that follows takes the transpose as it is.
    """

    def __init__(self, selection: SelectInputs) -> None:
        super().__init__()
        self.register_buffer("index", selection.index)
        self.dim: int = selection.dim

    def forward(self, x: Tensor) -> Tensor:
        """The selected inputs."""
        index = self.get_buffer("index")
        return x.t().index_select(0, index).t() if x.ndim == 2 else x.index_select(self.dim, index)


def with_fast_selections(net: nn.Module) -> nn.Module:
    """Return a copy of a network in which selections of features are such; the network itself where it has none."""
    if not any(isinstance(module, SelectInputs) and module.dim == -1 for module in net.modules()):
        return net
    net = copy_network(net)
    if isinstance(net, SelectInputs):
        return SelectRows(net)
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SelectInputs) and child.dim == -1:
                setattr(parent, name, SelectRows(child))
    return net
