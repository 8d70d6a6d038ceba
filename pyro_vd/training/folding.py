"""What becomes of the values of a network before units are removed from it: what the others need of them goes into biases."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vd.compaction import ShrinkPlan
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.training.smaller_pair import planned_tensors


@torch.no_grad()
def fold(model: BayesianNetwork, plan: ShrinkPlan) -> dict[str, Tensor]:
    """Add to the biases of a model what constant units contribute.

    Returns:
        Masks by site, False for the weights that must be zero from now on: those of constant units that stay, which count in
        biases already, and rows of an embedding that several words share.
    """
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in model.initial_weights.items()}
    done: set[int] = set()
    for name, tensor, in_plan in planned_tensors(model._net, plan):
        found = plan.tensor(in_plan)
        if found is None or id(tensor) in done:
            continue
        done.add(id(tensor))
        if found.added:
            tensor.add_(torch.tensor(found.added, dtype=torch.float64).to(tensor))
        found.zero(masks.get(name, tensor))
    for embedding in plan.embeddings:
        rows = torch.tensor(embedding.rows)
        masks[f"{embedding.module}.weight"][rows.bincount()[rows] > 1] = False
    return masks
