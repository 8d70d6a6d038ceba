"""What must change in a network beside its tensors: numbers that modules keep, attentions of PyTorch, scales of attentions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor, fx, nn

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.counting import Counting
from pyro_vd.compaction.exported import operation
from pyro_vd.compaction.labels import core, varying
from pyro_vd.compaction.plan import AttentionPlan, AttributePlan
from pyro_vd.compaction.rules_movement import RULES as MOVEMENT
from pyro_vd.compaction.values import Value, values_in


def attribute_plans(analysis: Analysis, counting: Counting) -> Iterator[AttributePlan]:
    """The numbers that change: those equal to a size that the module's own forward pass gives to an operation.

    Modules of PyTorch take their sizes from their tensors, but for the number of groups of a convolution. Other modules keep
    numbers such as ``num_heads``, from which they make the sizes of a view. That the right ones are changed is verified by
    running the network.
    """
    changes: dict[str, dict[int, set[int]]] = {}
    for node in analysis.graph.nodes:
        if operation(node) in MOVEMENT and (numbers := set(literals(node))):
            by_size = changes.setdefault(analysis.graph.path(node), {})
            for value in values_in([analysis.values[node]]):
                for old, new in _sizes(counting, value):
                    if old in numbers:
                        by_size.setdefault(old, set()).add(new)
    groups: dict[str, int] = {}
    for parts in analysis.parts:
        old, width = parts.outputs.shape
        new = len({index // width for index in counting.indices(parts.outputs.flatten())})
        path = analysis.graph.path(parts.node)
        if old != new and isinstance(analysis.graph.net.get_submodule(path), nn.modules.conv._ConvNd):
            groups[path] = new
        elif old != new:
            changes.setdefault(path, {}).setdefault(old, set()).add(new)
    for path, number in groups.items():
        yield AttributePlan(path, "groups", (number,))
    for path, by_size in changes.items():
        module = analysis.graph.net.get_submodule(path)
        if type(module).__module__.startswith("torch.nn."):
            continue
        new_sizes = {old: new.pop() for old, new in by_size.items() if len(new) == 1 and old not in new}
        for name, value in vars(module).items():
            if type(value) is int and new_sizes.get(value, value) != value:
                yield AttributePlan(path, name, (new_sizes[value],))
            elif type(value) is tuple and value and all(type(part) is int for part in value):
                changed = tuple(new_sizes.get(int(part), int(part)) for part in value)
                if changed != value:
                    yield AttributePlan(path, name, changed, True)


def one_of_each(net: nn.Module, found: Sequence[AttributePlan]) -> Iterator[tuple[AttributePlan, ...]]:
    """Choices with one number of each module where several are equal, of which only one may be the size that changes.

    Modules of the same class with the same numbers take the same choice. At most 16 choices are made.
    """
    groups: dict[tuple[type[nn.Module], Any], dict[str, list[AttributePlan]]] = {}
    for plan in found:
        module = net.get_submodule(plan.module)
        groups.setdefault((type(module), getattr(module, plan.name)), {}).setdefault(plan.name, []).append(plan)
    if any(len(by_name) > 1 for by_name in groups.values()):
        for choice in islice(product(*(by_name.values() for by_name in groups.values())), 16):
            yield tuple(plan for plans in choice for plan in plans)


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
    """By place, the factors of the layers that make queries, where attention divides by the root of another width."""
    found: dict[tuple[str, int], list[float]] = {}
    for heads in analysis.heads:
        width, left = heads.query.shape[1], int(counting.mask(heads.query).sum(1).max())
        if heads.scaled is None or left == width:
            continue
        of_query = torch.isin(heads.scaled.outputs, heads.query)
        for place, index in heads.scaled.out_of.items():
            factors = torch.ones(len(analysis.places.labels[place[0]][place[1]]), dtype=torch.float64)
            factors[index[of_query]] = (left / width) ** 0.5
            found[place] = factors.tolist()
    return found


def literals(node: fx.Node) -> list[Any]:
    """The arguments of a node that are no tensors."""
    flat = torch.utils._pytree.tree_leaves((node.args, node.kwargs))
    return [part for part in flat if not isinstance(part, fx.Node)]


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
