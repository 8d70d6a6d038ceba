"""Which factor multiplies which entry of a weight, where every input of a layer has a random factor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class UnitLayout:
    """The map from factors z, one per unit, to the inputs of a weight, and from these to its entries.

    A unit is one input, or several that only go together: the values of one attention head, or the positions of one filter that
    a linear layer reads after a flattening.

    Attributes:
        inputs: the number of inputs that the weight multiplies.
        axis: the dimension of the weight that holds the inputs: 1 for a linear layer or a convolution, 0 for a transposed
            convolution or an embedding, whose inputs are its rows.
        groups: of a grouped convolution. Dimension 0 is then divided into as many parts, of which each has inputs of its own:
            the index i of dimension ``axis`` stands in part g for the input g · (inputs / groups) + i.
        of_input: ``(inputs,)``, the number of the unit of each input; None where each input is a unit.
        units: the number of units, some of which may have no input here; None where it is that of the inputs.
    """

    inputs: int
    axis: int = 1
    groups: int = 1
    of_input: Tensor | None = None
    units: int | None = None

    @property
    def count(self) -> int:
        """The number of units."""
        return self.inputs if self.units is None else self.units

    def to(self, device: torch.device) -> UnitLayout:
        """Return the layout for weights on this device."""
        if self.of_input is None or self.of_input.device == device:
            return self
        return UnitLayout(self.inputs, self.axis, self.groups, self.of_input.to(device), self.units)

    def over_inputs(self, z: Tensor) -> Tensor:
        """Return the factor of each input, ``(…, inputs)``, from that of each unit, ``(…, units)``."""
        return z if self.of_input is None else z[..., self.of_input]

    def over_weight(self, z: Tensor, shape: torch.Size) -> Tensor:
        """Return the factor of each entry of a weight of this shape, in a shape that broadcasts to it.

        The dimensions of ``z``, ``(…, units)``, before the last stay in front of those of the weight.
        """
        z, axis = self.over_inputs(z), self.axis % max(len(shape), 1)
        if self.groups > 1:  # (…, groups, 1, inputs of a group), for all outputs of the group
            z = z.reshape(*z.shape[:-1], self.groups, 1, -1).repeat_interleave(shape[0] // self.groups, -2).flatten(-3, -2)
            return z.reshape(*z.shape, *(1 for _ in shape[2:]))
        return z.reshape(*z.shape[:-1], *(-1 if dim == axis else 1 for dim in range(len(shape))))

    def least(self, values: Tensor) -> Tensor:
        """Return the least of the values, in the shape of a weight, of each unit, ``(units,)``; +∞ or True for one without."""
        axis, values = self.axis % max(values.ndim, 1), torch.atleast_1d(values)
        parts = values.reshape(self.groups, -1, *values.shape[1:]).movedim(axis + 1, 1)
        by_input = parts.reshape(*parts.shape[:2], -1).amin(2).flatten()
        if self.of_input is None:
            return by_input
        largest = torch.full((self.count,), torch.inf, device=values.device).to(values.dtype)
        return largest.scatter_reduce(0, self.of_input, by_input, "amin")

    @property
    def is_read(self) -> Tensor | None:
        """True for the units, ``(units,)``, that some input belongs to; None where all are."""
        if self.of_input is None:
            return None
        return torch.zeros(self.count, dtype=torch.bool, device=self.of_input.device).index_fill(0, self.of_input, True)

    def has_weights(self, mask: Tensor) -> Tensor:
        """Return True for each unit, ``(units,)``, with a True among its entries in the mask of a weight."""
        return self.least(~mask) == 0
