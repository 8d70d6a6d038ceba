"""Units of a network and the tensors that hold them."""

from __future__ import annotations

import torch
from torch import Tensor


class Space:
    """Units that are kept or removed together: the outputs of a layer, and the units that they are summed or multiplied with.

    Attributes:
        live: mask of the units that the network's output depends on.
        pinned: whether an operation that is not understood reads them. Then all of them stay, and none counts as constant.
    """

    def __init__(self, size: int) -> None:
        self.live: Tensor = torch.zeros(size, dtype=torch.bool)
        self.pinned = False
        self._joined: Space | None = None

    @property
    def size(self) -> int:
        return len(self.live)

    @property
    def kept(self) -> Tensor:
        """Mask of the units that stay: the live ones, or the first where none is live, as torch has no layers without units."""
        return self.live if self.live.any() else torch.arange(self.size) == 0

    def root(self) -> Space:
        """The space that this one has become part of."""
        return self if self._joined is None else self._joined.root()

    def join(self, other: Space) -> None:
        """Merge another space of the same size into this one."""
        mine, its = self.root(), other.root()
        if mine is not its:
            mine.pinned |= its.pinned
            its._joined = mine


class Units:
    """The units of a space as one tensor holds them.

    After flattening, a unit is a block of several features, one after the other; elsewhere a feature is a unit.

    Attributes:
        axis: the dimension of the tensor that holds them.
        features: the size of that dimension, a multiple of the number of units.
        constant: by feature, float64 on the CPU: its value where it is the same for all inputs and positions, else NaN.
    """

    def __init__(self, space: Space, axis: int, features: int) -> None:
        self._space = space
        self.axis = axis
        self.features = features
        self.constant: Tensor = torch.full((features,), torch.nan, dtype=torch.float64)

    @property
    def space(self) -> Space:
        return self._space.root()

    @property
    def live(self) -> Tensor:
        """Mask of the live features."""
        return self.space.live.repeat_interleave(self.features // self.space.size)

    @property
    def kept(self) -> Tensor:
        """Mask of the features that stay."""
        return self.space.kept.repeat_interleave(self.features // self.space.size)
