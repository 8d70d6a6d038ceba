"""How many units of a stream stay, and in which order, so that after the network's own shuffles all arrive where they are read.

The layers of a stream may keep different numbers of units, and each may put its units in any order. With given numbers, each
place in the output of a layer takes a way of its own through the shuffles. A unit fits in a place with the way that the unit
takes in the whole network. So numbers are possible if, for every layer and every way, there are at least as many places as
units that are needed. Places that are left over take units that are not needed. A search finds the least numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.fewest_units import Search
from pyro_vd.compaction.replay import Replay
from pyro_vd.compaction.streams import Step, streams


class Shuffle:
    """The units of one stream.

    Attributes:
        labels: of all units.
        vectors: the labels in the outputs of the steps, as tuples.
        orders: by the labels in an output of a step, those that stay, in their new order; after :meth:`arrange`.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._replay = Replay(steps)
        self.labels: Tensor = self._replay.labels[self._replay.labels >= 0]
        self.vectors: set[tuple[int, ...]] = {tuple(part.flatten().tolist()) for step in steps for part in step.labels}
        self.orders: dict[tuple[int, ...], Tensor] = {}

    def is_exact(self) -> bool:
        """Whether the steps are all that the network does to the units."""
        return self._replay.is_exact()

    def arrange(self, kept: Tensor) -> None:
        """Choose the numbers and the orders of units, of which those ``kept`` stay, a mask by label."""
        replay = self._replay
        needed = kept[replay.labels] & (replay.labels >= 0)
        sizes, search = replay.whole, Search(replay, needed)
        while (fewer := search.fewer(sizes)) is not None:
            sizes = fewer
        outputs = replay.outputs(sizes)
        unit = _units(needed, replay.ways(replay.outputs(replay.whole)), replay.ways(outputs))
        for number, parts in outputs.items():
            for places, labels in zip(parts, replay.steps[number].labels, strict=True):
                order = replay.labels[unit[places.flatten()]].where(unit[places.flatten()] >= 0, -1)
                self.orders[tuple(labels.flatten().tolist())] = _filled(order, labels.flatten())


def _units(needed: Tensor, way_of_unit: Tensor, way_of_place: Tensor) -> Tensor:
    """By place, the unit that is put there, −1 for none; units with the same way stay in their order."""
    unit = torch.full_like(way_of_place, -1)
    for way in way_of_unit[way_of_unit != 0].unique():
        places, units = (way_of_place == way).nonzero().flatten(), (way_of_unit == way).nonzero().flatten()
        first = needed[units].logical_not().long().argsort(stable=True)[: len(places)]
        unit[places[: len(first)]] = units[first].sort().values
    return unit


def _filled(order: Tensor, labels: Tensor) -> Tensor:
    """An order in which units that are not in it take the places that are left; nobody reads them."""
    others = labels[~torch.isin(labels, order)]
    empty = (order < 0).nonzero().flatten()
    return order.index_put((empty,), others[: len(empty)])


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
