"""The rule for bilinear layers, which multiply every unit of one input by every unit of another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.labels import along, core, varying
from pyro_vd.compaction.values import Value


def _bilinear(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """The rule: a unit that is 0 makes all of its products 0; another constant does not, and stays."""
    first, second, weight, bias = (*args, None)[:4]
    if weight.concrete is None or (bias is not None and bias.concrete is None):
        return analysis.unknown(node, args, kwargs)
    (one, one_numbers), (two, two_numbers) = (analysis.units_along(value, -1, node) for value in (first, second))
    outputs = analysis.labels.new(weight.shape[0])
    partners = [outputs, one, two]
    covered = {axis for axis, labels in enumerate(partners) if len(labels) == 1}
    for place, index in weight.sources.items():
        if len(axes := varying(index)) == 1:
            (axis,) = axes
            covered.add(axis)
            analysis.hold(None, analysis.places.link(place, core(index).flatten(), partners[axis]))
    for axis, labels in enumerate(partners):
        if axis not in covered:
            analysis.hold(node, labels)
    if bias is not None:
        for place, index in bias.sources.items():
            analysis.hold(None, analysis.places.link(place, core(index).flatten(), outputs))
    reads = weight.concrete.detach().cpu() != 0
    reads = reads & (one_numbers != 0)[:, None] & (two_numbers != 0)
    flows = [value.flow_along(-1) for value in (first, second)]
    marks = reads.any(2).float() @ flows[0] + reads.any(1).float() @ flows[1] + analysis.root
    shift = torch.zeros((), dtype=torch.float64) if bias is None else bias.constant
    numbers = shift.where(~reads.flatten(1).any(1), torch.nan)
    shape = node.meta["val"].shape
    return Value(outputs, marks, numbers).moved(lambda tensor: along(tensor, len(shape) - 1, shape))


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {"bilinear": _bilinear}
"""By the name of an operation."""
