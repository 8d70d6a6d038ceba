"""Moving a model and its guide to the device of a training, and back if the training is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide


@contextmanager
def placed(
    guide: WeightGuide, device: torch.device, num_data: int, train_threshold: float | None
) -> Iterator[Callable[[], None]]:
    """Move a guide and its model to a device and set N and the threshold; an error inside the context restores everything.

    Yields:
        What restores it, for errors after the context.
    """
    model = guide.model
    modules = [module for whole in (model, guide) for module in whole.modules()]
    own = [(module, dict(vars(module)), dict(module._parameters), dict(module._buffers)) for module in modules]
    parameters = [parameter for module in modules for parameter in module._parameters.values() if parameter is not None]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    values = [(tensor, tensor.data) for tensor in (*parameters, *gradients)]
    had = model.num_data, guide.train_threshold

    def restore() -> None:
        for module, attributes, its_parameters, its_buffers in own:  # moving replaces buffers, and on some devices parameters
            vars(module).update(attributes)
            module._parameters.update(its_parameters)
            module._buffers.update(its_buffers)
        model.num_data, guide.train_threshold = had
        for tensor, value in values:
            tensor.data = value

    try:
        model.to(device)
        guide.to(device)
        model.num_data, guide.train_threshold = num_data, train_threshold
        yield restore
    except BaseException:
        restore()
        raise


@contextmanager
def values_kept(module: nn.Module) -> Iterator[None]:
    """Put the values of parameters and buffers, and the generator of the CPU, back after an error inside."""
    values = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    values |= {name: tensor.detach().clone() for name, tensor in module.named_buffers()}
    generator = torch.get_rng_state()
    try:
        yield
    except BaseException:
        torch.set_rng_state(generator)
        with torch.no_grad():
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                if name in values:
                    tensor.copy_(values[name])
        raise
