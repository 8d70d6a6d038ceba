"""The plan for one tensor of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError


@dataclass(frozen=True)
class TensorPlan:
    """The plan for one parameter or buffer. The steps are, in this order: add, multiply, set to zero, select.

    Attributes:
        name: name of the tensor in the network.
        shape: shape of the tensor before.
        kept: per dimension, the indices that are kept, in their new order; None where all are kept.
        zeroed: per dimension, the indices of the tensor before that are set to zero: units that stay because something else
            needs them, but whose contribution here is in a bias, or is not needed.
        added: numbers that are added to a bias, one per entry of the bias before; empty where there is nothing to add.
        factors: per dimension, numbers by which its entries are multiplied, one per index before; empty where there are none,
            and for all dimensions if there are none at all.
        is_new: whether the layer has no such bias yet; then the bias is made, and starts from zeros.
        parts: the number of groups, for the weight of a convolution: parts of dimension 0, each with units of its own along
            dimension 1. There, indices count through all parts: part · size + index. A part of which nothing is kept is
            removed; all others keep the same number.

    Raises:
        InputError: the fields do not fit together.
    """

    name: str
    shape: tuple[int, ...]
    kept: tuple[tuple[int, ...] | None, ...]
    zeroed: tuple[tuple[int, ...], ...]
    added: tuple[float, ...] = ()
    factors: tuple[tuple[float, ...], ...] = ()
    is_new: bool = False
    parts: int = 1

    def __post_init__(self) -> None:
        dims = len(self.shape)
        fits = len(self.kept) == len(self.zeroed) == dims and (not self.added or (len(self.added),) == self.shape)
        fits &= len(self.factors) in (0, dims)
        fits &= all(len(vector) in (0, size) for vector, size in zip(self.factors, self.shape, strict=False))
        sizes = [size * (self.parts if dim == 1 else 1) for dim, size in enumerate(self.shape)]
        kept = [None if indices is None else sorted(indices) for indices in self.kept]
        fits = fits and all(map(are_indices, (*kept, *self.zeroed), sizes * 2)) and () not in self.kept
        if not fits or not (self.parts == 1 or self._has_parts()):
            raise InputError(
                f"the plan for {self.name!r} does not fit its shape {self.shape}: indices must differ and be less than the "
                "size of their dimension, at least one must be kept, numbers to add must be as many as the entries, and parts "
                "must be equally large",
                name=self.name,
                value=self.shape,
            )

    def _has_parts(self) -> bool:
        """Whether the tensor can have so many parts, of which those that stay keep the same number along dimension 1."""
        if self.parts < 1 or len(self.shape) < 2 or self.shape[0] % self.parts:
            return False
        rows, columns = self._kept_by_part()
        return rows.keys() == columns.keys() and len({len(its) for its in columns.values()}) == 1

    def _kept_by_part(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """By part, what is kept along dimensions 0 and 1, as indices within the part."""
        sizes = self.shape[0] // self.parts, self.shape[1]
        return _by_part(self.kept[0], self.parts, sizes[0]), _by_part(self.kept[1], self.parts, sizes[1])

    def zero(self, tensor: Tensor) -> None:
        """Set to zero what ``zeroed`` says in a tensor of this shape."""
        for dim, indices in enumerate(self.zeroed):
            index = torch.tensor(indices, dtype=torch.int64, device=tensor.device)
            if dim == 1 and self.parts > 1:
                tensor.unflatten(0, (self.parts, -1)).transpose(1, 2)[index // self.shape[1], index % self.shape[1]] = 0
            else:
                tensor.index_fill_(dim, index, 0)

    def selected(self, tensor: Tensor) -> Tensor:
        """A new tensor with what is kept of one of this shape."""
        selected = tensor.clone()
        for dim, kept in enumerate(self.kept):
            if kept is not None and (dim > 1 or self.parts == 1):
                selected = selected.index_select(dim, torch.tensor(kept, device=tensor.device))
        if self.parts == 1:
            return selected
        rows, columns = self._kept_by_part()
        parts = selected.chunk(self.parts)
        return torch.cat([parts[part][its_rows][:, columns[part]] for part, its_rows in rows.items()])


def _by_part(kept: Sequence[int] | None, parts: int, size: int) -> dict[int, list[int]]:
    """The indices within each part, in the order of ``kept``."""
    found: dict[int, list[int]] = {}
    for index in range(parts * size) if kept is None else kept:
        found.setdefault(index // size, []).append(index % size)
    return found


def are_indices(indices: Sequence[int] | None, size: int) -> bool:
    """Whether these are indices of a dimension of this size, rising; None stands for all of them."""
    given = indices or ()
    return all(0 <= index < size for index in given) and all(a < b for a, b in pairwise(given))
