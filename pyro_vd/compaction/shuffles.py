"""How many units of a stream stay, and in which order, so that after the network's own shuffles all arrive where they are read.

The layers of a stream may keep different numbers of units, and each may put its units in any order. With given numbers, each
place in the output of a layer takes a way of its own through the shuffles. A unit fits in a place with the way that the unit
takes in the whole network. So numbers are possible if, for every layer and every way, there are at least as many places as
units that are needed. Places that are left over take units that are not needed. A search finds the least numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.replay import Replay
from pyro_vd.compaction.streams import Outputs, Step, streams

_PATIENCE = 20_000
"""How many numbers of units are tried at most in one search."""


class Shuffle:
    """The units of one stream.

    Attributes:
        labels: of all units.
        vectors: the labels in the outputs of the steps, as tuples.
        orders: by the labels in an output of a step, those that stay, in their new order; after :meth:`keep`.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._replay = Replay(steps)
        self.labels: Tensor = self._replay.labels[self._replay.labels >= 0]
        self.vectors: set[tuple[int, ...]] = {tuple(part.flatten().tolist()) for step in steps for part in step.labels}
        self.orders: dict[tuple[int, ...], Tensor] = {}

    def is_exact(self) -> bool:
        """Whether the steps are all that the network does to the units."""
        return self._replay.is_exact()

    def keep(self, kept: Tensor) -> Tensor:
        """Choose which units stay: those that are ``kept``, a mask by label, and others for the numbers' sake.

        Returns:
            Their labels.
        """
        replay = self._replay
        needed = kept[replay.labels] & (replay.labels >= 0)
        whole = replay.outputs(replay.whole)
        way_of_unit = replay.ways(whole)
        sizes, search = replay.whole, _Search(replay, needed, way_of_unit, whole)
        while (fewer := search.fewer(sizes)) is not None:
            sizes = fewer
        outputs = replay.outputs(sizes)
        unit = self._units(needed, way_of_unit, replay.ways(outputs))
        self.orders = {
            tuple(labels.flatten().tolist()): replay.labels[unit[places.flatten()]]
            for step, parts in zip(replay.steps, outputs, strict=True)
            for places, labels in zip(parts, step.labels, strict=True)
        }
        return replay.labels[unit[unit >= 0]]

    @staticmethod
    def _units(needed: Tensor, way_of_unit: Tensor, way_of_place: Tensor) -> Tensor:
        """By place, the unit that is put there; units with the same way stay in their order."""
        unit = torch.full_like(way_of_place, -1)
        for way in way_of_place[way_of_place > 0].unique():
            places, units = (way_of_place == way).nonzero().flatten(), (way_of_unit == way).nonzero().flatten()
            first = needed[units].logical_not().long().argsort(stable=True)[: len(places)]
            unit[places] = units[first].sort().values
        return unit


def shuffles(analysis: Analysis) -> list[Shuffle]:
    """The shuffles of a network of which units can be put in another order: at all places that stand for them."""
    find = analysis.labels.find
    places = [find(analysis.places.labels[name][dim]) for name, dim in analysis.places.linked]
    in_groups = [find(part) for parts in analysis.parts for part in (parts.inputs, parts.outputs) if part.shape[1] > 1]
    found = []
    for steps in streams(analysis):
        shuffle = Shuffle(steps)
        vectors = [vector for vector in places if bool(torch.isin(vector, shuffle.labels).any())]
        of_groups = any(bool(torch.isin(part, shuffle.labels).any()) for part in in_groups)
        if not of_groups and shuffle.is_exact() and all(tuple(vector.tolist()) in shuffle.vectors for vector in vectors):
            found.append(shuffle)
    return found


class _Search:
    """A search for fewer units, layer by layer in the order of the steps.

    Args:
        replay: of the stream.
        needed: by place in the whole network, whether its unit is needed.
        way_of_unit: by place in the whole network.
        whole: the outputs of the whole network.
    """

    def __init__(self, replay: Replay, needed: Tensor, way_of_unit: Tensor, whole: Sequence[Outputs]) -> None:
        self._replay = replay
        self._needed = [[replay.by_layer(part.flatten()[needed[part.flatten()]]) for part in parts] for parts in whole]
        self._of_ways = Counter(way_of_unit[needed].tolist())
        self._least = replay.by_layer(needed.nonzero()).clamp(min=1).tolist()
        self._best: list[int] | None = None

    def fewer(self, sizes: list[int]) -> list[int] | None:
        """The least numbers of units whose sum is less than that of ``sizes``; no way may have more places than with these."""
        self._best, self._fewest, self._tries = None, sum(sizes), 0
        outputs = self._replay.outputs(sizes)
        self._most = [[self._replay.by_layer(part) for part in parts] for parts in outputs]
        ways = self._replay.ways(outputs)
        self._most_of_ways = Counter(ways[ways > 0].tolist())
        self._sizes = sizes
        if len(set(sizes)) == 1:  # most shuffles need about the same numbers
            for size in range(max(self._least), sizes[0]):
                outputs = self._replay.outputs([size] * len(sizes))
                if len(outputs) == len(self._needed) and self._is_possible(outputs):
                    self._best, self._fewest = [size] * len(sizes), size * len(sizes)
                    break
        self._try([], [])
        return self._best

    def _try(self, before: list[Outputs], sizes: list[int]) -> None:
        """Go on from the outputs of the first steps, whose layers have these sizes."""
        outputs = list(before)
        while len(outputs) < len(self._needed) and self._replay.layer(len(outputs)) is None:
            if not self._add(outputs, None):
                return
        if len(outputs) == len(self._needed):
            if self._is_possible(outputs):
                self._best, self._fewest = sizes, sum(sizes)
            return
        layer = len(sizes)
        rest = sum(sizes) + sum(self._least[layer + 1 :])
        for size in range(self._least[layer], self._sizes[layer] + 1):
            self._tries += 1
            if rest + size >= self._fewest or self._tries > _PATIENCE:
                return
            after = list(outputs)
            if self._add(after, size):
                self._try(after, [*sizes, size])

    def _add(self, outputs: list[Outputs], size: int | None) -> bool:
        """Add the output of the next step; return whether there is room for all units that are needed in it."""
        number = len(outputs)
        output = self._replay.output(number, outputs, size)
        if output is None or len(output) != len(self._needed[number]):
            return False
        outputs.append(output)
        if len(output) == 1:  # all units of the inputs, or as many as are needed
            return True
        for part, needed, most in zip(output, self._needed[number], self._most[number], strict=True):
            places = self._replay.by_layer(part)
            if not bool(((needed <= places) & (places <= most)).all()):
                return False
        return True

    def _is_possible(self, outputs: Sequence[Outputs]) -> bool:
        """Whether there is a place for every unit that is needed, and a unit for every place."""
        ways = self._replay.ways(outputs)
        found = Counter(ways[ways > 0].tolist())
        return found >= self._of_ways and found <= self._most_of_ways
