"""What is known of a tensor in a network's graph, whatever the inputs are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.labels import Sources, core


@dataclass(frozen=True)
class Value:
    """What is known of a tensor. All tensors here have its shape; most are expanded, so that they take no memory.

    Attributes:
        labels: int64, the unit that an entry belongs to; −1 for none, as in data and parameters.
        flow: float32, carries marks from the output back to what it depends on, as gradients.
        numbers: float64, the entries that are the same for all inputs, NaN for the others; None if no entry is, or if
            ``concrete`` has them.
        concrete: the tensor itself where it does not depend on the inputs.
        sources: where the entries come from, for a tensor that is made of parameters and buffers alone.
        filler: the operation that made it of zeros alone, in sizes that can follow those of the units that it meets.
    """

    labels: Tensor
    flow: Tensor
    numbers: Tensor | None = None
    concrete: Tensor | None = None
    sources: Sources = field(default_factory=dict)
    filler: fx.Node | None = None

    @property
    def shape(self) -> torch.Size:
        return self.labels.shape

    @property
    def constant(self) -> Tensor:
        """The entries that are the same for all inputs, NaN for the others, as float64 on the CPU."""
        if self.numbers is not None:
            return self.numbers
        if self.concrete is not None and not self.concrete.is_complex():
            return self.concrete.detach().cpu().double()
        return torch.full((), torch.nan, dtype=torch.float64).expand(self.shape)

    @property
    def has_units(self) -> bool:
        return bool((core(self.labels) >= 0).any())

    def moved(self, move: Callable[[Tensor], Tensor]) -> Value:
        """The value after an operation that only moves entries."""
        return Value(
            move(self.labels),
            move(self.flow),
            None if self.numbers is None else move(self.numbers),
            None if self.concrete is None else move(self.concrete),
            {place: move(index) for place, index in self.sources.items()},
        )

    def divided(self, divide: Callable[[Tensor], Sequence[Tensor]]) -> list[Value]:
        """The values after an operation that gives several parts."""
        labels, flows = divide(self.labels), divide(self.flow)
        numbers = None if self.numbers is None else divide(self.numbers)
        concrete = None if self.concrete is None else divide(self.concrete)
        sources = {place: divide(index) for place, index in self.sources.items()}
        return [
            Value(
                labels[part],
                flows[part],
                None if numbers is None else numbers[part],
                None if concrete is None else concrete[part],
                {place: indices[part] for place, indices in sources.items()},
            )
            for part in range(len(labels))
        ]

    def flow_along(self, axis: int) -> Tensor:
        """The flow of the entries along an axis, summed over all others."""
        others = [dim for dim in range(len(self.shape)) if dim != axis % len(self.shape)]
        return self.flow.sum(others) if others else self.flow

    def with_numbers(self, numbers: Tensor | None) -> Value:
        """The same units with other constants."""
        return replace(self, numbers=numbers, concrete=None)


def unknown(shape: torch.Size) -> Value:
    """A tensor of which nothing is known, such as data."""
    return Value(torch.full((), -1).expand(shape), torch.zeros(()).expand(shape))


def known(tensor: Tensor, sources: Sources | None = None) -> Value:
    """A tensor that does not depend on the inputs."""
    return Value(torch.full((), -1).expand(tensor.shape), torch.zeros(()).expand(tensor.shape), None, tensor, sources or {})


def joined(values: Sequence[Value], axis: int) -> Value:
    """The units, marks and constants of several values, one after another along an axis."""
    labels, flow = [value.labels for value in values], [value.flow for value in values]
    return Value(torch.cat(labels, axis), torch.cat(flow, axis), torch.cat([value.constant for value in values], axis))


def values_in(tree: Any) -> Iterator[Value]:
    """Every value in nested arguments."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from values_in(item)
    elif isinstance(tree, dict):
        yield from values_in(list(tree.values()))
