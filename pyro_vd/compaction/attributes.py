"""What must change in a network beside its tensors: numbers that modules keep, attentions of PyTorch, scales of attentions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice, product

import torch
from torch import Tensor, nn

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.counting import Counting
from pyro_vd.compaction.exported import literals, operation
from pyro_vd.compaction.labels import core, varying
from pyro_vd.compaction.module_plans import AttentionPlan, AttributePlan
from pyro_vd.compaction.rules_movement import RULES as MOVEMENT
from pyro_vd.compaction.values import Value, values_in
from pyro_vd.networks.attention import Attention

_MOST_ANSWERS = 32
"""How many ways to change the numbers of modules are tried."""


@dataclass(frozen=True)
class _Number:
    """A number of a module, as an attribute or a part of one, and what it may become; itself last."""

    path: str
    module: nn.Module
    name: str
    place: int
    may_become: list[int]


def attribute_plans(
    analysis: Analysis, counting: Counting, checking: Collection[type[nn.Module]] = ()
) -> Iterator[tuple[AttributePlan, ...]]:
    """The numbers that change: those equal to a size that the module's own forward pass gives to an operation.

    Modules of PyTorch take their sizes from their tensors, but for the number of groups of a convolution. Other modules keep
    numbers such as ``num_heads``, from which they make the sizes of a view. Where several axes have the same size, such as
    8 heads with 8 units each, or several numbers of a module are equal, they do not tell which axis they stand for. Then
    there are several answers, each the same for all modules of a class; running the network tells which one is right.

    Args:
        analysis: of the network.
        counting: what is kept.
        checking: classes of modules that raise an error in the smaller network: they may compare their numbers with sizes.
    """
    numbers = list(_numbers(analysis, counting, checking))
    groups = {path: new for path, _, new in _new_groups(analysis, counting) if _is_convolution(analysis, path)}
    of_convolutions = [AttributePlan(path, "groups", (new,)) for path, new in groups.items()]
    choices: dict[tuple[type, str, int], int] = {}
    for each in numbers:
        key = (type(each.module), each.name, each.place)
        choices[key] = max(choices.get(key, 1), len(each.may_become))
    for answer in islice(product(*map(range, choices.values())), _MOST_ANSWERS):
        chosen = dict(zip(choices, answer, strict=True))
        new: dict[tuple[str, str], dict[int, int]] = {}
        for each in numbers:
            choice = chosen[type(each.module), each.name, each.place]
            places = new.setdefault((each.path, each.name), {})
            places[each.place] = each.may_become[min(choice, len(each.may_become) - 1)]
        yield (*of_convolutions, *_changed(analysis.graph.net, new))


def _numbers(analysis: Analysis, counting: Counting, checking: Collection[type[nn.Module]]) -> Iterator[_Number]:
    """The numbers of modules that are the size of an axis that becomes smaller."""
    found = _new_sizes(analysis, counting)
    for path, module in analysis.graph.net.named_modules():
        if type(module) in checking:
            _add_sizes_around(analysis, counting, path, found.setdefault(path, {}))
    for path, by_size in found.items():
        module = analysis.graph.net.get_submodule(path)
        is_of_pytorch = type(module).__module__.startswith("torch.nn.") and type(module) not in checking
        if is_of_pytorch or isinstance(module, Attention):
            continue
        own = [
            (name, place, old)
            for name, value in vars(module).items()
            for place, old in enumerate(value if type(value) is tuple else (value,))
            if type(old) is int
        ]
        equal = Counter(old for _, _, old in own)
        for name, place, old in own:
            sizes = by_size.get(old, [])
            if others := [size for size in sizes if size != old]:
                yield _Number(path, module, name, place, others + [old] * (old in sizes or equal[old] > 1))


def _new_sizes(analysis: Analysis, counting: Counting) -> dict[str, dict[int, list[int]]]:
    """By path of a module and size of an axis, the sizes that such axes become in the module's own forward pass."""
    found: dict[str, dict[int, list[int]]] = {}
    for node in analysis.graph.nodes:
        if operation(node) in MOVEMENT and (given := set(literals(node))):
            by_size = found.setdefault(analysis.graph.path(node), {})
            for value in values_in([analysis.values[node]]):
                for old, new in _sizes(counting, value):
                    if old in given:
                        _note(by_size, old, new)
    for node, labels in analysis.fillers:
        _note(found.setdefault(analysis.graph.path(node), {}), len(labels), int(counting.mask(labels).sum()))
    for path, old, new in _new_groups(analysis, counting):
        if not _is_convolution(analysis, path):
            _note(found.setdefault(path, {}), old, new)
    return found


def _note(by_size: dict[int, list[int]], old: int, new: int) -> None:
    """Note what a size may become, once."""
    sizes = by_size.setdefault(old, [])
    if new not in sizes:
        sizes.append(new)


def _add_sizes_around(analysis: Analysis, counting: Counting, path: str, by_size: dict[int, list[int]]) -> None:
    """Add the sizes of what a module is given, and of what its own forward pass computes."""
    inside = {node for node in analysis.graph.nodes if f"{analysis.graph.path(node)}.".startswith(f"{path}." if path else "")}
    given = {source for node in inside for source in node.all_input_nodes if source not in inside | analysis.graph.names.keys()}
    own = {node for node in inside if analysis.graph.path(node) == path}
    for value in values_in([analysis.values[node] for node in analysis.graph.nodes if node in given | own]):
        for old, new in _sizes(counting, value):
            _note(by_size, old, new)


def _new_groups(analysis: Analysis, counting: Counting) -> Iterator[tuple[str, int, int]]:
    """The paths of modules that run convolutions with groups of which some go, and how many groups there are and stay."""
    for parts in analysis.parts:
        old, width = parts.outputs.shape
        new = len({index // width for index in counting.indices(parts.outputs.flatten())})
        if old != new:
            yield analysis.graph.path(parts.node), old, new


def _is_convolution(analysis: Analysis, path: str) -> bool:
    return isinstance(analysis.graph.net.get_submodule(path), nn.modules.conv._ConvNd)


def _changed(net: nn.Module, new: dict[tuple[str, str], dict[int, int]]) -> Iterator[AttributePlan]:
    for (path, name), places in new.items():
        value = getattr(net.get_submodule(path), name)
        old = value if type(value) is tuple else (value,)
        changed = tuple(places.get(place, part) for place, part in enumerate(old))
        if changed != old:
            yield AttributePlan(path, name, changed, type(value) is tuple)


def attention_plans(analysis: Analysis, counting: Counting, changed: Collection[str]) -> Iterator[AttentionPlan]:
    """The attentions of PyTorch with a tensor that changes; they have one width for everything, so that others replace them."""
    seen: set[str] = set()
    for heads in analysis.heads:
        path = heads.replaced
        if path is None or path in seen or not any(name.startswith(f"{path}." if path else "") for name in changed):
            continue
        seen.add(path)
        query, value = counting.mask(heads.query).sum(1), counting.mask(heads.value).sum(1)
        yield AttentionPlan(path, int((query > 0).sum()), int(query.max()), int(value.max()))


def scales(analysis: Analysis, counting: Counting) -> dict[tuple[str, int], list[float]]:
    """By place, the factors of the layers that make up for a scale that depends on a width."""
    found: dict[tuple[str, int], Tensor] = {}
    for heads in analysis.heads:
        width, left = heads.query.shape[1], int(counting.mask(heads.query).sum(1).max())
        if heads.scale is None or left == width:
            continue
        for place, index in heads.scale.layer.out_of.items():  # one layer may make the queries of several attentions
            name, dim = place
            factors = found.setdefault(place, torch.ones(len(analysis.places.labels[name][dim]), dtype=torch.float64))
            factors[index[heads.scale.outputs]] = (left / width) ** heads.scale.power
    return {place: factors.tolist() for place, factors in found.items()}


def _sizes(counting: Counting, value: Value) -> Iterator[tuple[int, int]]:
    """The sizes along the axes of units, before and after."""
    small = core(value.labels)
    axes = sorted(varying(small))
    if not axes:
        return
    mask = counting.mask(small)
    for axis in axes:
        yield small.shape[axis], _left(mask, axis, axis == axes[-1])


def _left(mask: Tensor, axis: int, last: bool) -> int:
    """How many indices stay along an axis; along the last one, in every row of which anything stays."""
    rows = mask.movedim(axis, -1).flatten(0, -2) if mask.ndim > 1 else mask[None]
    return int(rows.sum(1).max()) if last else int(rows.any(0).sum())
