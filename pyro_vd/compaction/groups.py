"""The groups of units that must be kept or removed together, for guides that put one scale on each group."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pyro_vd._core.threads import alone
from pyro_vd.compaction.applying import prepared
from pyro_vd.compaction.exported import Exported, NotExportedError
from pyro_vd.compaction.rules import analyse
from pyro_vd.networks.checks import check_inputs_of
from pyro_vd.networks.inputs import Inputs


@dataclass(frozen=True)
class AttentionHeads:
    """The groups that the units of one attention belong to, ``(heads, width)`` each; query and key share theirs."""

    query: Tensor
    value: Tensor


@dataclass(frozen=True)
class UnitGroups:
    """The groups of units of a network.

    Attributes:
        groups: by name of a parameter or buffer, and by dimension, the number of the group of each index; dimensions whose
            indices are no units are left out. The same number means the same group, in whatever tensor: the outputs of a layer
            and the columns that read them, summands of a residual sum, the gates of a recurrent unit, the layers before and
            after a depthwise convolution.
        fixed: the groups that cannot be removed, such as those of the outputs; sorted. Units that a layer normalisation reads
            can be removed, but only those that are constant. The inputs of the network, as columns of its first layers have
            them, can be left out.
        heads: one entry per attention.
        across: by name of the weight of a convolution with groups, the groups of units that dimension 1 stands for, through all
            groups of the convolution: group · size + index. ``groups`` has no entry for that dimension.
        reason: why the network could not be followed, and ``groups`` is empty; None where it could.
    """

    groups: dict[str, dict[int, Tensor]]
    fixed: Tensor
    heads: tuple[AttentionHeads, ...] = ()
    reason: str | None = None
    across: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
@alone()
def unit_groups(net: nn.Module, example: Inputs) -> UnitGroups:
    """Find the groups of units that must be kept or removed together in a network.

    Args:
        net: the network; it is not changed, and its numbers do not matter.
        example: a batch that it takes.

    Raises:
        InputError: the network has hooks, a number in it is not finite, or the example does not fit.
    """
    example = check_inputs_of(net, example)
    try:
        graph = Exported(prepared(net), example)
        analysis = analyse(graph, [node for node in graph.inputs if node.meta["val"].is_floating_point()])
    except NotExportedError as error:
        return UnitGroups({}, torch.zeros(0, dtype=torch.int64), (), str(error))
    find = analysis.labels.find
    found: dict[str, dict[int, Tensor]] = {}
    for name, dim in sorted(analysis.places.linked):
        found.setdefault(name, {})[dim] = find(analysis.places.labels[name][dim])
    across = {name: found[name].pop(1) for name in analysis.places.parts if 1 in found.get(name, {})}
    used = [*across.values(), *(group for by_dim in found.values() for group in by_dim.values())]
    numbers = torch.cat(used).unique() if used else torch.zeros(0, dtype=torch.int64)

    def numbered(groups: Tensor) -> Tensor:
        return torch.searchsorted(numbers, groups)

    held = find(torch.cat([held.labels.flatten() for held in analysis.held])).unique() if analysis.held else numbers[:0]
    return UnitGroups(
        {name: {dim: numbered(groups) for dim, groups in by_dim.items()} for name, by_dim in found.items()},
        numbered(held[torch.isin(held, numbers)]),
        tuple(AttentionHeads(numbered(find(h.query)), numbered(find(h.value))) for h in analysis.heads),
        across={name: numbered(groups) for name, groups in across.items()},
    )
