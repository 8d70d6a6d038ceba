"""Data and networks of the results that ``fingerprint.py`` takes digests of."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

import pyro_vd as vd

Arrays = tuple[Tensor, Tensor]


def digits(*shape: int) -> tuple[Arrays, Arrays]:
    """Training and test data, images of this shape."""
    data = vd.load_data("digits")
    return (data.x_train[:500].reshape(500, *shape or (64,)), data.y_train[:500]), (
        data.x_test[:200].reshape(200, *shape or (64,)),
        data.y_test[:200],
    )


def diabetes(targets: Callable[[Tensor], Tensor]) -> tuple[Arrays, Arrays]:
    """Training and test data, what is predicted as a function of the data set's."""
    data = vd.load_data("diabetes")
    return (data.x_train, targets(data.y_train)), (data.x_test, targets(data.y_test))


def mlp(*sizes: int) -> nn.Module:
    """Fully connected, of these sizes."""
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def convnet() -> nn.Module:
    """Two convolutions, a normalisation and pooling, for images of 8 × 8."""
    before = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*before, nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 10))


class Residual(nn.Module):
    """Convolutions with a path around two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        h = h + self.third(self.norm(self.second(h)).relu())
        return self.last(h.relu().mean((2, 3)))


def transposed() -> nn.Module:
    """A convolution and a transposed one, for images of 8 × 8."""
    first, second = nn.Conv2d(1, 6, 3), nn.ConvTranspose2d(6, 4, 3)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))


def thinned(net: nn.Module) -> nn.Module:
    """A network as training and pruning might leave it: statistics of its own, units and single weights at zero."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
        elif isinstance(weight := getattr(module, "weight", None), Tensor):
            kept = (torch.rand(weight.shape) < 0.5) & (torch.rand(len(weight)) < 0.6).view(-1, *[1] * (weight.ndim - 1))
            weight.data *= kept
    return net.eval()
