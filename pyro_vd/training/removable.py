"""What can be removed from a network while it is trained: the plan for its dead weights, and whether it can be carried out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pyro_vd.compaction import ShrinkPlan
from pyro_vd.compaction.compacting import compacted
from pyro_vd.compaction.verifying import Verified
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.inputs import Inputs

Masks = Mapping[str, Tensor]
"""Boolean tensors by site, in the shapes of the weights."""


@torch.no_grad()
def find_plan(guide: WeightGuide, dead: Masks, example: Inputs) -> Verified:
    """The plan of what can be removed where dead weights are zero, and why there is none where the network is not followed."""
    return compacted(_without(guide, dead), example)


def _without(guide: WeightGuide, dead: Masks) -> nn.Module:
    """The network at the posterior mean, in which dead weights alone are zero, and not those of an attention.

    A compact attention is another module, which does not train as the whole one does.
    """
    weights = {}
    for name, mask in dead.items():
        mean = guide.mean(name)
        weights[name] = mean.where(mean != 0, torch.finfo(mean.dtype).tiny).masked_fill(mask, 0)
    net = guide.model.to_module(weights)
    for module in net.modules():
        if isinstance(module, nn.MultiheadAttention):
            for parameter in module.parameters():
                if parameter.ndim > 1:
                    parameter.masked_fill_(parameter == 0, torch.finfo(parameter.dtype).tiny)
    return net


def obstacle(plan: ShrinkPlan, model: BayesianNetwork, dead: Masks) -> str | None:
    """Why a plan cannot be carried out in a training, so that its result can be mapped back; None where it can be."""
    for found in plan.tensors:
        if found.is_new:
            return f"{found.name} would be needed for what units that are removed contribute, and the layer has no bias"
        if any(found.factors) or (found.added and found.name in model.weight_names):
            return f"{found.name} would be changed by what is removed"
    if plan.attentions:
        return f"{plan.attentions[0].module} would become another module"
    for embedding in plan.embeddings:
        rows = torch.tensor(embedding.rows)
        name = f"{embedding.module}.weight"
        shared = rows.bincount()[rows] > 1
        if name not in dead or not bool(dead[name].cpu()[shared].all()):
            return f"words would share a row of {name} that is learnt"
    return None


def weights_left(model: BayesianNetwork, plan: ShrinkPlan) -> int:
    """The number of weights of the sites of a model that a plan leaves."""
    total = 0
    for name, weight in model.initial_weights.items():
        found = plan.tensor(name)
        total += (weight if found is None else found.selected(weight)).numel()
    return total
