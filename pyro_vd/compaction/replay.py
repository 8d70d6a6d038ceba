"""The way that units of a stream take through the network's own code if its layers make other numbers of units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pyro_vd.compaction.streams import Outputs, Step


class Replay:
    """The steps of a stream, carried out on places: layer · width + index, for the units that layers make.

    Attributes:
        steps: the steps.
        whole: by layer, how many units it makes in the whole network.
        labels: by place in the whole network, the label of its unit; −1 where there is none.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        made = [step.labels[0].flatten() for step in steps if step.made]
        self.steps: Sequence[Step] = steps
        self.whole: list[int] = [len(labels) for labels in made]
        self._width = max(self.whole)
        padded = [torch.nn.functional.pad(labels, (0, self._width - len(labels)), value=-1) for labels in made]
        self.labels: Tensor = torch.cat(padded)
        self._layers = {number: layer for layer, number in enumerate(n for n, step in enumerate(steps) if step.made)}
        draw = torch.Generator().manual_seed(0)
        self._marks = [torch.randint(2**40, (len(step.labels),), generator=draw).tolist() for step in steps]

    def layer(self, number: int) -> int | None:
        """The layer whose units the step of this number makes; None if it moves units."""
        return self._layers.get(number)

    def output(self, number: int, before: Mapping[int, Outputs], size: int | None) -> Outputs | None:
        """The places in the output of a step, given those of the steps before; None if the network's code cannot be run.

        Args:
            number: of the step.
            before: the outputs of the steps before.
            size: how many units it makes; None if it moves units.
        """
        step = self.steps[number]
        if size is None:
            return step.moved(before)
        start = self._layers[number] * self._width
        shape = [1 if length == 1 else size for length in step.labels[0].shape]
        return (torch.arange(start, start + size).reshape(shape),)

    def outputs(self, sizes: Sequence[int]) -> dict[int, Outputs]:
        """The places in the outputs of all steps if layers have these sizes; of fewer steps if one cannot be run."""
        found: dict[int, Outputs] = {}
        for number in range(len(self.steps)):
            layer = self.layer(number)
            if (output := self.output(number, found, None if layer is None else sizes[layer])) is None:
                break
            found[number] = output
        return found

    def is_exact(self) -> bool:
        """Whether the steps do to all units of the whole network what the network does."""
        outputs = self.outputs(self.whole)
        return len(outputs) == len(self.steps) and all(
            torch.equal(self.labels[place], labels)
            for number, places in outputs.items()
            for place, labels in zip(places, self.steps[number].labels, strict=True)
        )

    def by_layer(self, places: Tensor) -> Tensor:
        """How many of these places each layer makes."""
        return torch.bincount(places.flatten() // self._width, minlength=len(self.whole))

    def ways(self, outputs: Mapping[int, Outputs]) -> Tensor:
        """By place, a number that stands for its layer and for the outputs in which the place is found; 0 for no place."""
        found = torch.zeros_like(self.labels)
        for number, parts in outputs.items():
            for part, mark in zip(parts, self._marks[number], strict=False):
                found.index_add_(0, part.flatten(), torch.full((part.numel(),), mark))
        return found
