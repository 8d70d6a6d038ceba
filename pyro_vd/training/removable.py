"""What can be removed from a network while it is trained: the plan for its dead weights, and whether it can be carried out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pyro_vd.compaction import ShrinkPlan
from pyro_vd.compaction.compacting import compacted
from pyro_vd.compaction.module_plans import EmbeddingPlan
from pyro_vd.compaction.verifying import Verified
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.inputs import Inputs

Masks = Mapping[str, Tensor]
"""Boolean tensors by site, in the shapes of the weights."""


@torch.no_grad()
def find_plan(guide: WeightGuide, dead: Masks, example: Inputs, constants: bool = True) -> Verified:
    """The plan of what can be removed where dead weights are zero, and why there is none where the network is not followed.

    Args:
        guide: of the network that is trained.
        dead: True for dead weights.
        example: a batch of inputs.
        constants: whether units that are constant go, whose contribution is added to biases; else only what nothing reads.
    """
    net = guide.model.to_module({name: _without(guide, name, mask, constants) for name, mask in dead.items()})
    for module in net.modules():
        if isinstance(module, nn.MultiheadAttention):  # a compact one does not train as the whole one does
            for parameter in module.parameters():
                parameter.masked_fill_(parameter == 0, _next_to_nothing(parameter))
    return compacted(net, example)


def _without(guide: WeightGuide, name: str, dead: Tensor, constants: bool) -> Tensor:
    """The posterior mean of a weight, in which the dead entries alone are zero.

    Without ``constants`` an output of which all weights are dead keeps one of next to nothing, from an input that stays.
    """
    mean, axes = guide.mean(name), guide.model.weight_axes(name)
    weight = mean.where(mean != 0, _next_to_nothing(mean)).masked_fill(dead, 0)
    if constants or not {"in", "out"} <= {*axes} or not hasattr(guide.model.layer(name), "bias"):
        return weight
    by_output, is_dead = (each.movedim((axes.index("out"), axes.index("in")), (0, 1)) for each in (weight, dead))
    alone = is_dead.flatten(1).all(1)
    by_output[alone, int((~is_dead).transpose(0, 1).flatten(1).sum(1).argmax())] = _next_to_nothing(mean)
    return weight


def _next_to_nothing(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny


def obstacle(plan: ShrinkPlan, guide: WeightGuide, dead: Masks) -> str | None:
    """Why a plan cannot be carried out in a training, so that its result can be mapped back; None where it can be."""
    for found in plan.tensors:
        if found.is_new:
            return f"{found.name} would be needed for what units that are removed contribute, and the layer has no bias"
        if any(found.factors) or (found.added and found.name in dead):
            return f"{found.name} would be changed by what is removed"
    if plan.attentions:
        return f"{plan.attentions[0].module} would become another module"
    for embedding in plan.embeddings:
        name = f"{embedding.module}.weight"
        if name not in dead or _share_learnt_rows(embedding, plan.kept(name)[0], guide.mean(name).masked_fill(dead[name], 0)):
            return f"words would share a row of {name} that is learnt"
    return None


def _share_learnt_rows(embedding: EmbeddingPlan, kept: Tensor, weight: Tensor) -> bool:
    """Whether words have the same numbers, that are read, in rows that are not removed; then they may differ later.

    Args:
        embedding: says which rows are taken for equal.
        kept: by row that stays, its index before.
        weight: the embedding, 0 where a weight is dead. Numbers that nothing reads may differ.
    """
    first = kept[torch.tensor(embedding.rows)].to(weight.device)
    is_other = (first != torch.arange(len(first), device=weight.device))[:, None]
    return bool((is_other & (weight != 0) & (weight == weight[first])).any())


def weights_left(model: BayesianNetwork, plan: ShrinkPlan) -> int:
    """The number of weights of the sites of a model that a plan leaves."""
    total = 0
    for name, weight in model.initial_weights.items():
        found = plan.tensor(name)
        total += (weight if found is None else found.selected(weight)).numel()
    return total
