"""Embeddings whose ids share rows, as a compact embedding has them: all words that are removed share one row of zeros."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_INDICES = (torch.uint8, torch.int16, torch.int32)


class RemappedEmbedding(nn.Module):
    """An embedding that has the row of each id at a place of its own choice; it is called as ``nn.Embedding`` is.

    The buffer ``rows`` ``(num_embeddings,)`` holds, for each id, the number of its row of ``weight``
    ``(num_rows, embedding_dim)``. It takes 1, 2 or 4 bytes per id, as few as hold these numbers.

    Args:
        num_embeddings: how many ids there are.
        embedding_dim: how many numbers a row has.
        num_rows: how many rows there are.
        padding_idx: the id whose row gets no gradient; None for none.
        padding_row: the row of that id.
    """

    weight: Tensor
    rows: Tensor

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        num_rows: int,
        padding_idx: int | None = None,
        padding_row: int | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings: int = num_embeddings
        self.embedding_dim: int = embedding_dim
        self.num_rows: int = num_rows
        self.padding_idx: int | None = padding_idx
        self.padding_row: int | None = padding_row
        self.weight = nn.Parameter(torch.zeros(num_rows, embedding_dim))
        self.register_buffer("rows", torch.zeros(num_embeddings, dtype=index_type(num_rows)))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(self._rows_of(ids), self.weight, self.padding_row)

    def take_rows(self, rows: Tensor) -> None:
        """Number the rows anew: ``rows`` ``(num_rows,)`` holds, for each row, its new number."""
        new = rows.to(self.rows.device)[self.rows.long()]
        self.rows = new.to(index_type(int(rows.max()) + 1))
        self.padding_row = None if self.padding_row is None else int(rows[self.padding_row])

    def _rows_of(self, ids: Tensor) -> Tensor:
        """The row of each id, of the type of the ids; an id out of range raises an error, as in ``nn.Embedding``."""
        return self.rows.index_select(0, ids.flatten()).to(ids.dtype).reshape(ids.shape)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}, num_rows={self.num_rows}{padding}"


class RemappedEmbeddingBag(RemappedEmbedding):
    """The same for ``nn.EmbeddingBag``, as which it is called: sums, means or maxima of the rows of bags of ids.

    Args:
        num_embeddings, embedding_dim, num_rows: see :class:`RemappedEmbedding`.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        include_last_offset: whether the last offset is the number of ids.
        padding_idx: the id that no bag contains; None for none. No other id may share its row.
        padding_row: the row of that id.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        num_rows: int,
        mode: str = "mean",
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        padding_row: int | None = None,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, num_rows, padding_idx, padding_row)
        self.mode: str = mode
        self.include_last_offset: bool = include_last_offset

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(
            self._rows_of(input),
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_row,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"


def index_type(count: int) -> torch.dtype:
    """The smallest type of integers for indices of so many rows."""
    return next(kind for kind in _INDICES if count - 1 <= torch.iinfo(kind).max)


def can_share_rows(layer: nn.Module) -> bool:
    """Whether a layer is an embedding of which ids may share rows: its rows are not changed when they are looked up."""
    if type(layer) in (RemappedEmbedding, RemappedEmbeddingBag):
        return True
    plain: Any = layer
    return type(layer) in (nn.Embedding, nn.EmbeddingBag) and not (plain.max_norm or plain.scale_grad_by_freq or plain.sparse)


def remapped(layer: nn.Module, rows: Tensor) -> RemappedEmbedding:
    """An embedding that has the weight of ``layer``, which they share until it gets ``num_rows`` rows.

    Args:
        layer: an ``nn.Embedding`` or ``nn.EmbeddingBag``.
        rows: ``(num_embeddings,)``, the row that each id will stand for.
    """
    whole: Any = layer
    count = int(rows.max()) + 1
    padding_row = None if whole.padding_idx is None else int(rows[whole.padding_idx])
    sizes = whole.num_embeddings, whole.embedding_dim, count
    if isinstance(layer, nn.EmbeddingBag):
        made: RemappedEmbedding = RemappedEmbeddingBag(
            *sizes, whole.mode, whole.include_last_offset, whole.padding_idx, padding_row
        )
    else:
        made = RemappedEmbedding(*sizes, whole.padding_idx, padding_row)
    made.weight = whole.weight
    made.rows = rows.to(whole.weight.device, index_type(count))
    if "whole_shapes" in vars(whole):  # what a file must know of layers that were made smaller before
        vars(made)["whole_shapes"] = dict(vars(whole)["whole_shapes"])
    return made.train(layer.training)
