"""Units of a network that could still go, found without the plan: by the zeros around them, and by changing them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from zeroed import output_dimension

from pyro_vd.compaction import UnitGroups, unit_groups
from pyro_vd.networks import RemappedEmbedding
from pyro_vd.networks.inputs import run, tensors_in
from pyro_vd.networks.partial_norms import PartialNorm

MOST_TRIED = 25
"""How many of the groups without a gradient are changed at most, evenly spaced; their share stands for all of these."""

BYTES_OF_IDS = 4
"""How many bytes the map of ids to rows takes per id, at most."""


def removable_share(net: nn.Module, x: Any) -> float:
    """The share of the groups of units and of the rows of embeddings that could go, of those that no rule needs.

    A group could go if every weight that makes its units is zero, and every bias and gain, or if a change of all of these does
    not change the outputs. Where units are normalised, which makes them depend on others, it is enough that what makes them
    before is zero, and that a change of gains and biases of the normalisations does not change the outputs. Rules need the
    groups that are fixed, heads of attention and recurrent units, of which all must be equally wide. A row could go if an
    earlier one is equal to it and this saves bytes, unless the table has another use.
    """
    found = unit_groups(net, x)
    needed = torch.cat([found.fixed, *(part.flatten() for heads in found.heads for part in (heads.query, heads.value))])
    for name, by_dim in found.groups.items():
        if isinstance(_owner(net, name), nn.RNNBase):
            needed = torch.cat([needed, by_dim[0]])
    places = _made_by(net, found)
    excluded = set(needed.tolist())
    free = [group for group in places if group not in excluded]
    silent = [group for group in free if all(not bool(_entries(net, place).any()) for place in places[group])]
    normalised = [group for group in free if group not in silent and _is_silent_before_norms(net, places[group])]
    others = sorted(set(_without_gradient(net, x, free, places)) - {*silent, *normalised})
    tried = others[:: max(1, -(-len(others) // MOST_TRIED))]
    with torch.no_grad():
        before = [output.clone() for output in tensors_in(run(net, x))]
    unread = sum(_is_unread(net, x, places[group], before) for group in tried) / max(1, len(tried)) * len(others)
    unread += sum(
        _is_unread(net, x, [place for place in places[group] if _is_of_norm(net, place)], before) for group in normalised
    )
    equal, rows = _rows(net)
    return (len(silent) + unread + equal) / max(1, len(places) + rows)


def _rows(net: nn.Module) -> tuple[int, int]:
    """How many rows of embeddings could go, and how many there are, in tables with one use."""
    uses = Counter(id(parameter) for module in net.modules() for parameter in module.parameters(recurse=False))
    equal = total = 0
    for module in net.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag | RemappedEmbedding) and uses[id(module.weight)] == 1:
            repeated = len(module.weight) - len(module.weight.unique(dim=0))
            cost = 0 if isinstance(module, RemappedEmbedding) else BYTES_OF_IDS * len(module.weight)
            total += len(module.weight)
            equal += repeated if repeated * module.weight[0].nbytes > cost else 0
    return equal, total


Place = tuple[str, int, int]
"""Name of a parameter, dimension, and index in it."""


def _made_by(net: nn.Module, found: UnitGroups) -> dict[int, list[Place]]:
    """By group, the places of the weights, biases and gains that make its units."""
    places: dict[int, list[Place]] = {}
    for name, parameter in net.named_parameters():
        for dim, groups in found.groups.get(name, {}).items():
            if dim == (output_dimension(_owner(net, name)) if parameter.ndim > 1 else 0):
                for index, group in enumerate(groups.tolist()):
                    places.setdefault(group, []).append((name, dim, index))
    return places


def _owner(net: nn.Module, name: str) -> nn.Module:
    return net.get_submodule(name.rpartition(".")[0])


def _is_of_norm(net: nn.Module, place: Place) -> bool:
    return isinstance(_owner(net, place[0]), nn.LayerNorm | nn.RMSNorm | nn.GroupNorm | PartialNorm)


def _is_silent_before_norms(net: nn.Module, places: list[Place]) -> bool:
    """Whether units are normalised, and all that makes them is zero, but for gains and biases of normalisations."""
    of_norms = [_is_of_norm(net, place) for place in places]
    return any(of_norms) and not any(
        bool(_entries(net, p).any()) for p, is_of in zip(places, of_norms, strict=True) if not is_of
    )


def _entries(net: nn.Module, place: Place) -> Tensor:
    name, dim, index = place
    return net.get_parameter(name).detach().select(dim, index)


def _without_gradient(net: nn.Module, x: Any, groups: list[int], places: dict[int, list[Place]]) -> list[int]:
    """The groups whose entries have no gradient: they may be unread, or beyond the reach of this batch, such as a dead ReLU."""
    net.zero_grad()
    with torch.enable_grad():
        sum(output.square().sum() for output in tensors_in(run(net, x))).backward()  # type: ignore[union-attr]
    slopes = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()

    def moves(place: Place) -> bool:
        slope = slopes[place[0]]
        return slope is not None and bool(slope.select(place[1], place[2]).any())

    return [group for group in groups if not any(moves(place) for place in places[group])]


@torch.no_grad()
def _is_unread(net: nn.Module, x: Any, places: list[Place], before: list[Tensor]) -> bool:
    """Whether the outputs stay as they were ``before`` if all that makes the units of a group is changed by much."""
    for amount in (10.0, -10.0):
        saved = [(place, _entries(net, place).clone()) for place in places]
        for place in places:
            _entries(net, place).add_(amount)
        after = list(tensors_in(run(net, x)))
        for place, entries in saved:
            _entries(net, place).copy_(entries)
        if not all(torch.equal(one, other) for one, other in zip(before, after, strict=True)):
            return False
    return True
