"""Labels of units, which are united where units must be kept or removed together, and the places of a network's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def along(vector: Tensor, axis: int, shape: Sequence[int]) -> Tensor:
    """A vector along one axis of a tensor of this shape, expanded along all others."""
    return vector.reshape([-1 if dim == axis else 1 for dim in range(len(shape))]).expand(tuple(shape))


class Labels:
    """A union-find structure over integers, for whole tensors at a time."""

    def __init__(self) -> None:
        self._parent = torch.empty(0, dtype=torch.int64)
        self._size = 0

    @property
    def size(self) -> int:
        """The number of labels."""
        return self._size

    def new(self, count: int) -> Tensor:
        """Make new labels, each united with no other."""
        start, self._size = self._size, self._size + count
        if self._size > len(self._parent):
            self._parent = torch.cat([self._parent, torch.arange(len(self._parent), 2 * self._size)])
        return torch.arange(start, self._size)

    def find(self, labels: Tensor) -> Tensor:
        """The least label that each one is united with; negative labels stay as they are."""
        found = labels.clone(memory_format=torch.contiguous_format)
        valid = found >= 0
        roots = found[valid]
        while not torch.equal(above := self._parent[roots], roots):
            roots = self._parent[above]
        self._parent[labels[valid]] = roots
        found[valid] = roots
        return found

    def unite(self, first: Tensor, second: Tensor) -> None:
        """Unite labels at the same place of two tensors, which are broadcast; places with a negative label are left out."""
        first, second = torch.broadcast_tensors(first, second)
        valid = (first >= 0) & (second >= 0)
        first, second = first[valid], second[valid]
        while True:
            first, second = self.find(first), self.find(second)
            if not (differ := first != second).any():
                return
            first, second = first[differ], second[differ]
            low, high = torch.minimum(first, second), torch.maximum(first, second)
            self._parent.scatter_reduce_(0, high, low, "amin")


Sources = dict[tuple[str, int], Tensor]
"""Where the entries of a tensor come from: by name and dimension of a parameter or buffer, the index in that dimension for
every entry; −1 for entries from elsewhere."""


class Places:
    """A label for each index of each dimension of named tensors.

    Attributes:
        labels: by name of the tensor, one vector of labels per dimension.
        parts: by name of a weight, into how many parts the convolutions that read it divide dimension 0. Each part reads, or
            makes, units of its own along dimension 1, whose indices count through all parts: part · size + index.
        linked: the dimensions whose indices stand for units; all others are never made smaller.
    """

    def __init__(self, labels: Labels, shapes: Mapping[str, torch.Size], parts: Mapping[str, int]) -> None:
        self._labels = labels
        self._shapes = shapes
        self.parts: Mapping[str, int] = parts
        self.labels: dict[str, tuple[Tensor, ...]] = {
            name: tuple(labels.new(size * (parts.get(name, 1) if dim == 1 else 1)) for dim, size in enumerate(shape))
            for name, shape in shapes.items()
        }
        self.linked: set[tuple[str, int]] = set()

    def sources(self, name: str) -> Sources:
        """The sources of the tensor of this name itself."""
        shape = self._shapes[name]
        found: Sources = {}
        for dim, size in enumerate(shape):
            found[name, dim] = along(torch.arange(size), dim, shape)
        return found

    def link(self, place: tuple[str, int], index: Tensor, labels: Tensor) -> Tensor:
        """Unite the labels of indices of a dimension with the labels at the same places; return those that have no partner."""
        self.linked.add(place)
        own = self.labels_at(place, index)
        self._labels.unite(own, labels)
        own, labels = torch.broadcast_tensors(own, labels)
        return own[(own >= 0) & (labels < 0)]

    def labels_at(self, place: tuple[str, int], index: Tensor) -> Tensor:
        """The labels of indices of a dimension; −1 where the index is −1."""
        name, dim = place
        return self.labels[name][dim][index.clamp(min=0)].where(index >= 0, -1)


def core(tensor: Tensor) -> Tensor:
    """The tensor with size 1 in every dimension along which it repeats because it is expanded."""
    for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        if stride == 0 and size > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor


def varying(tensor: Tensor) -> frozenset[int]:
    """The dimensions along which a tensor of labels or indices differs."""
    small = core(tensor)
    dims = (dim for dim, size in enumerate(small.shape) if size > 1)
    return frozenset(dim for dim in dims if bool((small != small.narrow(dim, 0, 1)).any()))
