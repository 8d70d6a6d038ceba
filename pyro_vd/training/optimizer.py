"""The optimizer of a training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def adam(loss_of: nn.Module, likelihood: object, lr: float, weight_decay: float) -> torch.optim.Adam:
    """Fused Adam over all parameters of an objective; the parameters of the likelihood have no weight decay.

    Args:
        loss_of: model and guide as one module, whose call gives the loss.
        likelihood: of the model.
        lr: learning rate at the start.
        weight_decay: λ of the penalty ½λ‖·‖² on that loss.
    """
    own = list(likelihood.parameters()) if isinstance(likelihood, nn.Module) else []
    others = [parameter for parameter in loss_of.parameters() if all(parameter is not each for each in own)]
    groups: list[dict[str, Any]] = [{"params": others}]
    if own:
        groups.append({"params": own, "weight_decay": 0.0})
    return torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group of parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr
