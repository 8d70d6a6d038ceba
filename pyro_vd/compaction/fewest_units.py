"""A search for the least numbers of units that the layers of a stream can make.

It goes through the layers in their order, and follows the numbers of the first ones that are possible so far. Of those after
which the later layers read the same, only one is followed. If there are too many, those with the fewest units are followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vd.compaction.replay import Replay
from pyro_vd.compaction.streams import Outputs

_PATIENCE = 100_000
"""About how many numbers of units are tried in one search."""

Layers = Any
"""An array with the layer of each place in an output."""
State = tuple[int, list[int], dict[int, list[Layers]]]
"""How many units the first layers make, each of them, and the outputs so far of the steps where streams part or join."""


class Search:
    """The numbers of units that are possible, layer by layer in the order of the steps.

    Args:
        replay: of the stream.
        needed: by place in the whole network, whether its unit is needed.
    """

    def __init__(self, replay: Replay, needed: Tensor) -> None:
        self._replay = replay
        whole = replay.outputs(replay.whole)
        places = {step: [part.flatten() for part in parts] for step, parts in whole.items()}
        self._needed = {step: [replay.by_layer(p[needed[p]]).numpy() for p in parts] for step, parts in places.items()}
        self._of_ways = Counter(replay.ways(whole)[needed].tolist())
        self._least: list[int] = replay.by_layer(needed.nonzero()).clamp(min=1).tolist()
        self._joints = list(self._found_joints())
        self._moves: dict[tuple[int, ...], list[Layers] | None] = {}

    def fewer(self, sizes: list[int]) -> list[int] | None:
        """The least numbers of units, less than ``sizes`` in sum; no output may have more places than with these."""
        most = {step: [part.numel() for part in parts] for step, parts in self._replay.outputs(sizes).items()}
        best: list[int] | None = None
        if len(set(sizes)) == 1:  # most shuffles need about the same numbers
            alike = ([size] * len(sizes) for size in range(max(self._least), sizes[0]))
            best = next((found for found in alike if self._is_possible(found, most)), None)
        fewest = sum(best or sizes)
        states: list[State] = [(0, [], {})]
        at = 0
        for layer, limit in enumerate(sizes):
            after = at + 1
            while after < len(self._joints) and self._replay.layer(self._joints[after][0]) is None:
                after += 1
            rest = sum(self._least[layer + 1 :])
            found: dict[bytes, State] = {}
            for total, before, outputs in states:
                for size in range(self._least[layer], limit + 1):
                    if total + size + rest >= fewest:
                        break
                    made = self._advanced(outputs, at, after, layer, size, most)
                    if made is not None:
                        state = (total + size, [*before, size], made)
                        key = b"|".join(part.tobytes() for number in sorted(made) for part in made[number])
                        key = key or repr(state[1]).encode()  # the last ones are all different
                        if key not in found or found[key][0] > total + size:
                            found[key] = state
            width = _PATIENCE // (len(sizes) * (limit + 1 - self._least[layer]))
            states = sorted(found.values(), key=lambda state: state[0])[: max(width, 10)]
            at = after
        return next((numbers for _, numbers, _ in states if self._is_possible(numbers, most)), best)

    def _found_joints(self) -> Iterator[tuple[int, list[tuple[int, int, list[int]]]]]:
        """The steps that make units, join or part; and the joints and parts that they read, with the steps in between."""
        steps = self._replay.steps
        joints: set[int] = set()
        for number, step in enumerate(steps):
            if not step.made and len(step.sources) == 1 and len(step.labels) == 1:
                continue
            sources = []
            for source, part in step.sources:
                path: list[int] = []
                while source not in joints:
                    path.insert(0, source)
                    ((source, part),) = steps[source].sources
                sources.append((source, part, path))
            joints.add(number)
            yield number, sources

    def _advanced(
        self, before: dict[int, list[Layers]], at: int, after: int, layer: int, size: int, most: dict[int, list[int]]
    ) -> dict[int, list[Layers]] | None:
        """The outputs that later joints read, after one that makes units and those up to the next one; None if impossible."""
        outputs = before | {self._joints[at][0]: [np.full(size, layer)]}
        for number, sources in self._joints[at + 1 : after]:
            joins = len(sources) > 1
            given = []
            for source, part, path in sources:
                layers = outputs[source][part]
                moved = self._moved((*path, *([] if joins else [number])), source, part, len(layers))
                if moved is None:
                    return None
                given += [layers[index] for index in moved]
            outputs[number] = [np.concatenate(given)] if joins else given
            if joins:
                continue
            if len(given) != len(most[number]):
                return None
            for part, needed, limit in zip(outputs[number], self._needed[number], most[number], strict=True):
                if len(part) > limit or (np.bincount(part, minlength=len(needed)) < needed).any():
                    return None
        read = {source for _, sources in self._joints[after:] for source, _, _ in sources}
        return {number: parts for number, parts in outputs.items() if number in read}

    def _moved(self, path: tuple[int, ...], source: int, part: int, length: int) -> list[Layers] | None:
        """Where the entries of an output come from, which steps move; None if they cannot."""
        key = (*path, source, part, length)
        if key not in self._moves:
            steps = self._replay.steps
            shape = [1 if size == 1 else length for size in steps[source].labels[part].shape]
            outputs: dict[int, Outputs] = {source: (torch.empty(0),) * part + (torch.arange(length).reshape(shape),)}
            found: Outputs | None = (outputs[source][part],)
            for number in path:
                found = steps[number].moved(outputs)
                if found is None:
                    break
                outputs[number] = found
            self._moves[key] = None if found is None else [each.flatten().numpy() for each in found]
        return self._moves[key]

    def _is_possible(self, sizes: Sequence[int], most: dict[int, list[int]]) -> bool:
        """Whether there is a place for every unit that is needed, and no output has more than the ``most`` places."""
        outputs = self._replay.outputs(sizes)
        if len(outputs) < len(self._needed):
            return False
        fits = all(p.numel() <= n for step, parts in outputs.items() for p, n in zip(parts, most[step], strict=True))
        ways = self._replay.ways(outputs)
        return fits and Counter(ways[ways != 0].tolist()) >= self._of_ways
