"""Networks of one's own classes, pruned and made compact, to be written to files."""

from __future__ import annotations

from collections.abc import Callable

import torch
from compaction_support import prune_at_random
from torch import Tensor, nn

from pyro_vd import compact

LAYOUTS = ["dense", "sparse", "quantised"]


class Own(nn.Module):
    """Two linear layers, without biases at first."""

    def __init__(self, hidden: int = 40, inputs: int = 12, outputs: int = 3) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.sigmoid(self.first(x)))


class Convolutional(nn.Module):
    """Every kind of layer that compaction makes smaller, and one that it leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.up = nn.ConvTranspose2d(12, 10, 2, stride=2)
        self.norm = nn.BatchNorm2d(10, affine=False)
        self.grouped = nn.Conv2d(10, 10, 3, groups=2)
        self.last = nn.ModuleDict({"hidden": nn.Linear(10, 20), "out": nn.Linear(20, 4)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.norm(self.up(self.first(x))).relu()).mean((2, 3))
        return self.last["out"](self.last["hidden"](x).relu())


class Normalised(nn.Module):
    """Normalisations over units, each in front of a layer that does not read all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(12, 32), nn.Linear(32, 32), nn.Linear(32, 24)
        self.last = nn.Linear(24, 3)
        self.layer, self.rms, self.group = nn.LayerNorm(32), nn.RMSNorm(32, eps=0.1), nn.GroupNorm(12, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = self.third(self.rms(self.second(self.layer(self.first(x))).relu()))
        return self.last(self.group(x))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (Own, (12,)),
    "linear, for images": (lambda: Flat(Own()), (3, 4)),
    "convolutional": (Convolutional, (3, 6, 6)),
    "in a Sequential": (lambda: nn.Sequential(nn.Flatten(), Own(outputs=8), nn.GroupNorm(2, 8), nn.Linear(8, 3)), (3, 4)),
    "in a Sequential without flattening": (lambda: nn.Sequential(Own(outputs=8), nn.PReLU(8), nn.Linear(8, 3)), (12,)),
    "normalised": (Normalised, (12,)),
    "tied": (lambda: tied(), (12,)),
}


class Flat(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.inner = net

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(1))


def tied() -> nn.Sequential:
    layer = nn.Linear(9, 9)
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 9), layer, nn.ReLU(), layer, nn.Linear(9, 3))


def made(name: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """A pruned network, its compact form and an input."""
    make, shape = NETWORKS[name]
    net = make().eval()
    prune_at_random(net, density=0.5, units=0.4)
    x = torch.randn(5, *shape)
    small = compact(net, x)
    assert sum(p.numel() for p in small.parameters()) < 0.8 * sum(p.numel() for p in net.parameters())
    return net, small, x
