"""Networks pruned at random, and what must hold of a compact network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyro_vd import compact
from pyro_vd.networks.layer_registry import kind_of
from pyro_vd.networks.norms import normalises_over_batch


@torch.no_grad()
def prune_at_random(net: nn.Module, density: float = 0.3, units: float = 0.3) -> None:
    """Leave a share ``density`` of a network's weights, and remove all weights to a share ``units`` of the units, and from one.

    Biases and what batch normalisation has learnt become random numbers.
    """
    for module in net.modules():
        if (kind := kind_of(module)) is not None:
            for name in kind.weights(module):
                weight = cast(nn.Parameter, getattr(module, name))
                weight *= torch.rand_like(weight) < density
                weight[torch.rand(len(weight)) < units] = 0
                weight[:, torch.rand(weight.shape[1]) < units] = 0
            if isinstance(bias := getattr(module, "bias", None), Tensor):
                bias.copy_(torch.randn_like(bias))
        elif normalises_over_batch(module):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                if tensor is not None:
                    tensor.copy_(torch.rand_like(tensor) + 0.5)


def check_compact(net: nn.Module, *shape: int) -> nn.Module:
    """Compact a network for inputs of a shape: same outputs, the network unchanged, nothing shared, nothing left to do."""
    net.double()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    was_training = net.training
    small = compact(net, torch.randn(2, *shape).double())
    assert net.training == was_training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not small.training
    storages = {tensor.untyped_storage().data_ptr() for tensor in net.state_dict().values()}
    assert not storages & {tensor.untyped_storage().data_ptr() for tensor in small.state_dict().values()}
    whole = copy.deepcopy(net).eval()
    for x in (torch.randn(7, *shape), 100 * torch.rand(3, *shape), torch.zeros(1, *shape), -torch.ones(2, *shape)):
        torch.testing.assert_close(small(x.double()), whole(x.double()), rtol=1e-9, atol=1e-9)
    again = compact(small, torch.randn(2, *shape).double())
    assert {k: t.tolist() for k, t in again.state_dict().items()} == {k: t.tolist() for k, t in small.state_dict().items()}
    return small


class Around(nn.Module):
    """Two linear layers with something between: 6-8-3; unit 0 is constant and unit 1 unread, so 6 stay if the rest allows."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor], read: int = 8, **parts: nn.Module) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(read, 3)
        self.parts = nn.ModuleDict(parts)
        self.between = between
        with torch.no_grad():
            self.first.weight[0] = 0
            self.last.weight[:, 1] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self, self.first(x)))
