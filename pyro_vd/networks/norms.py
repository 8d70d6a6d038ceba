"""The normalisation layers of PyTorch, grouped by what the library must know of them."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

BATCH_NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""The classes of batch normalisation that compaction and files know; in evaluation mode they act on each unit separately."""

CHANNEL_NORMS: tuple[type[nn.Module], ...] = (_NormBase,)
"""Batch and instance normalisation, lazy and synchronised ones and classes of users included: one number per channel each.

Their buffers are the running statistics, which a forward pass in training mode changes.
"""

NORMS: tuple[type[nn.Module], ...] = (*CHANNEL_NORMS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""All normalisation layers: no user expects their parameters to have a prior."""


def normalises_over_batch(module: nn.Module) -> bool:
    """Whether a module is batch normalisation, which needs more than one number per channel to train."""
    return isinstance(module, _BatchNorm)


def holds_statistics(module: nn.Module) -> bool:
    """Whether a module has running statistics; modules other than PyTorch's own have them by the same name."""
    return isinstance(module, CHANNEL_NORMS) or "running_mean" in module._buffers
