"""Second pass, *fold constants*: find the units that have the same value for every input."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, fx

from pyro_vd.compaction.parts import Layer, Norm, Selection
from pyro_vd.compaction.placement import Placement
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.operations import POOLING


def fold_constants(placement: Placement) -> None:
    """Set :attr:`~.units.Units.constant` of all units that are not pinned, from the input of the network to its output."""
    for node, units in placement.units.items():
        if not units.space.pinned:
            units.constant = _constant(placement, node)


def _constant(placement: Placement, node: fx.Node) -> Tensor:
    """The constant features of a node's output, by its formula or by running the node on the constants of its inputs."""
    part = placement.parts.get(node)
    if isinstance(part, Selection):
        return placement.units[node].constant
    if isinstance(part, Layer):
        return part.constant
    inputs = {source: _spread_out(placement, source) for source in placement.tensors(node)}
    if isinstance(part, Norm):
        (values,) = inputs.values()
        values.movedim(1, -1)[..., part.ignores] = 0  # an input that is multiplied by 0 can be any finite number
    before = [values.clone() for values in inputs.values()]
    result = _carried_out(placement, node, inputs)
    lowest, highest = _extremes(result, placement.units[node].axis)
    same = highest - lowest <= 1e-12 * highest.abs()  # the same number everywhere, but for rounding
    if placement.trace.operation(node) in POOLING:  # padding must not count, whatever the size of the input
        value, _ = _extremes(before[0], 1)
        same &= (lowest - value).abs() <= 1e-9 * value.abs()
    return lowest.where(same & lowest.isfinite(), torch.nan)


def _carried_out(placement: Placement, node: fx.Node, inputs: dict[fx.Node, Tensor]) -> Tensor:
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: inputs.get(source, 1))  # 1: the batch size
    result: Tensor
    if (module := placement.trace.module(node)) is not None:
        result = copy_network(module).cpu().double()(*args, **kwargs)
    elif node.op == "call_method":
        result = getattr(args[0], cast(str, node.target))(*args[1:], **kwargs)
    else:
        result = cast(Any, node.target)(*args, **kwargs)
    return result


def _spread_out(placement: Placement, node: fx.Node) -> Tensor:
    """A node's constants as one example of its output's shape."""
    units, shape = placement.units[node], placement.shapes[node]
    by_axis = [1] * len(shape)
    by_axis[units.axis] = units.features
    return units.constant.reshape(by_axis).expand(1, *shape[1:]).clone()


def _extremes(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    values = x.detach().movedim(axis, 0).flatten(1)
    return values.amin(1), values.amax(1)
