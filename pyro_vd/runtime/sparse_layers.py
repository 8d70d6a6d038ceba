"""Sparse forms of single layers, which take and give what the layer does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd.runtime.csr_linear import CSRLinear


class SparseLinear(nn.Module):
    """A linear layer with a CSR weight, for inputs ``(…, in_features)``."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.linear: CSRLinear = CSRLinear(weight, bias, sparse=True)

    @property
    def weight(self) -> Tensor:
        """The CSR weight; some networks ask a layer's weight for its type."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.linear(x.reshape(-1, x.shape[-1]).t())
        return h.t().contiguous().reshape(*x.shape[:-1], len(h))


class SparseConvolution(nn.Module):
    """A convolution with kernels of one position, without padding or groups, as a CSR matrix over the channels."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.stride: tuple[int, ...] = layer.stride
        self.linear: CSRLinear = CSRLinear(layer.weight.flatten(1), layer.bias, sparse=True)

    @property
    def weight(self) -> Tensor:
        """The CSR weight, ``(out, in)``."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        if any(step > 1 for step in self.stride):
            steps: list[Any] = [slice(None, None, step) for step in self.stride]
            x = x[(..., *steps)]
        if x.ndim == len(self.stride) + 1:  # one example without a batch
            return self.linear(x.flatten(1)).unflatten(1, x.shape[1:])
        h: Tensor = self.linear(x.transpose(0, 1).flatten(1))
        return h.unflatten(1, (len(x), *x.shape[2:])).transpose(0, 1).contiguous()


class SparseEmbedding(nn.Module):
    """An embedding that holds only the rows that are not all zero, and one row of zeros."""

    rows: Tensor
    place: Tensor

    def __init__(self, layer: nn.Embedding) -> None:
        super().__init__()
        weight = layer.weight.detach()
        kept = weight.any(1)
        self.register_buffer("rows", torch.cat([weight.new_zeros(1, weight.shape[1]), weight[kept]]))
        self.register_buffer("place", torch.where(kept, kept.cumsum(0), 0))

    def forward(self, ids: Tensor) -> Tensor:
        places = self.place.index_select(0, ids.flatten())  # refuses numbers out of range, as the embedding does
        return self.rows.index_select(0, places).reshape(*ids.shape, self.rows.shape[1])
