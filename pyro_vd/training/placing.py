"""A model and its guide made ready for a training, or left as they were where that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork


@contextmanager
def placed(model: BayesianNetwork, guide: nn.Module, device: torch.device, num_data: int) -> Iterator[None]:
    """Move model and guide to a device and set N; after an error inside, both are where they were, with the N that they had."""
    modules = [module for whole in (model, guide) for module in whole.modules()]
    own = [(module, dict(module._parameters), dict(module._buffers)) for module in modules]
    parameters = [parameter for module in modules for parameter in module._parameters.values() if parameter is not None]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    values = [(tensor, tensor.data) for tensor in (*parameters, *gradients)]
    had = model.num_data
    try:
        model.to(device)
        guide.to(device)
        model.num_data = num_data
        yield
    except BaseException:
        model.num_data = had
        for module, its_parameters, its_buffers in own:  # buffers are replaced where they move, and parameters on some devices
            module._parameters.update(its_parameters)
            module._buffers.update(its_buffers)
        for tensor, value in values:
            tensor.data = value
        raise
