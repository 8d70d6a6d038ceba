"""Networks without whole groups of units, which is the most that pruning can remove: all that goes together is zero."""

from __future__ import annotations

import torch
from torch import nn

from pyro_vd.compaction import unit_groups
from pyro_vd.networks.inputs import Inputs, run
from pyro_vd.networks.norms import normalises_over_batch


@torch.no_grad()
def with_zeros(net: nn.Module, example: Inputs, units: float = 0.4, weights: float = 0.3, seed: int = 0) -> nn.Module:
    """Prune a network at random, in place, and put it into evaluation mode: a share of its units, and of its other weights.

    The units are those that can be removed, with all that must be removed with them, and whole heads of attention; inputs and
    the rows of embeddings stay. Normalisation layers get the statistics of the example.
    """
    draw = torch.Generator().manual_seed(seed)
    found = unit_groups(net, example)
    places = [(name, dim, groups) for name, by_dim in found.groups.items() for dim, groups in by_dim.items()]
    names: dict[int, set[str]] = {}
    for name, _, groups in places:
        for group in groups.tolist():
            names.setdefault(group, set()).add(name)
    fixed = set(found.fixed.tolist())
    free = {group for group, used in names.items() if len(used) > 1 and group not in fixed}  # an input has one reader
    removed = set[int]()
    for heads in found.heads:
        for each in (heads.query, heads.value):
            free -= set(each.flatten().tolist())
        for head in torch.randperm(len(heads.query), generator=draw)[: int(units * len(heads.query))].tolist():
            removed |= {*heads.query[head].tolist(), *heads.value[head].tolist()} - fixed
    listed = sorted(free)
    removed |= {listed[k] for k in torch.randperm(len(listed), generator=draw)[: int(units * len(listed))].tolist()}
    tensors = dict(net.named_parameters())
    for parameter in tensors.values():
        if parameter.ndim > 1:
            parameter *= torch.rand(parameter.shape, generator=draw) >= weights
    gone = torch.tensor(sorted(removed), dtype=torch.long)
    for name, dim, groups in places:
        if name in tensors:
            tensors[name].index_fill_(dim, torch.isin(groups, gone).nonzero()[:, 0], 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _set_running_statistics(net, example)
    return net.eval()


def _set_running_statistics(net: nn.Module, example: Inputs) -> None:
    """Those of one batch alone: with the first ones the signals of a network that is pruned would vanish."""
    norms = [module for module in net.modules() if normalises_over_batch(module)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    run(net.train(), example)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
