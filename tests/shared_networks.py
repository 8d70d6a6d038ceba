"""Small networks in which units of several layers must be kept or removed together, and guides with shared factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout
from pyro_vd.distributions import LogUniform, NormalJeffreys
from pyro_vd.guides import LogNormalDropout
from pyro_vd.guides.unit_guide import UnitGuide


class Residual(nn.Module):
    """A stream of ``width`` channels, which two blocks read and add to; then a flattening."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(2, width, 3, padding=1), nn.Linear(width * 9, 3)
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).tanh()
        h = h + self.first(h).tanh()
        h = h + self.second(h).tanh()
        logits: Tensor = self.head(h.flatten(1))
        return logits


class Depthwise(nn.Module):
    """A depthwise convolution between two that mix channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.mixing, self.head = nn.Conv2d(6, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.mixing(self.deep(self.stem(x).tanh()).tanh()).tanh().mean((2, 3)))
        return logits


class Dense(nn.Module):
    """Channels that are concatenated: every layer reads those of all layers before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 3, 3, padding=1)
        self.second, self.head = nn.Conv2d(7, 3, 3, padding=1), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).tanh()
        h = torch.cat([h, self.first(h).tanh()], 1)
        h = torch.cat([h, self.second(h).tanh()], 1)
        logits: Tensor = self.head(h.mean((2, 3)))
        return logits


class Recurrent(nn.Module):
    """Tokens, two recurrent layers, classes."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.recurrent = nn.Embedding(7, 4), nn.LSTM(4, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.recurrent(self.tokens(ids))[0].mean(1))
        return logits


class Encoder(nn.Module):
    """Tokens, two layers of attention, classes."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(7, 8)
        layer = nn.TransformerEncoderLayer(8, 4, 12, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(self.tokens(ids)).mean(1))
        return logits


def images(n: int) -> Tensor:
    return torch.randn(n, 2, 3, 3)


def tokens(n: int) -> Tensor:
    return torch.arange(7 * n).reshape(n, 7) * 3 % 7


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = {
    "residual": (Residual, images),
    "depthwise": (Depthwise, images),
    "dense": (Dense, images),
    "recurrent": (Recurrent, tokens),
    "encoder": (Encoder, tokens),
}
"""By name: the network, and n of its inputs."""

KINDS: dict[str, Callable[..., UnitGuide]] = {"group": GroupVariationalDropout, "log-normal": LogNormalDropout}


def shared(network: str, kind: str = "group", **options: Any) -> UnitGuide:
    """A guide with shared factors, all of them different."""
    torch.manual_seed(0)
    make, inputs = NETWORKS[network]
    prior = NormalJeffreys if kind == "group" else LogUniform
    guide = KINDS[kind](BayesianNetwork(make(), prior=prior, num_data=6), -2.0, example=inputs(2), **options)
    with torch.no_grad():
        for name, parameter in guide.named_parameters():
            if name.endswith("z_mu"):
                parameter.add_(torch.rand_like(parameter))
    return guide
