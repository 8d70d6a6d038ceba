"""Networks and guides with inputs and units beyond the threshold, which trainings with ``shrink=True`` remove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from shared_networks import Residual
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropout, fit
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import LogNormalDropout, WeightGuide
from pyro_vd.guides.unit_guide import UnitGuide
from pyro_vd.networks import Standardize, lstm_classifier, mlp, transformer_encoder
from pyro_vd.training import Callback, TrainingState

EPOCHS = 6
Network = tuple[nn.Module, Tensor]
LABELS = torch.arange(40) % 3


class Watch(Callback):
    """Keeps the state of a training, and the number of weights that are trained after each epoch."""

    def __init__(self) -> None:
        self.weights: list[int] = []

    def on_epoch(self, state: TrainingState, record: object) -> None:
        self.state = state
        self.weights.append(sum(weight.numel() for name, weight in state.loss_of.named_parameters() if "theta" in name))


def images(channels: int, size: int) -> Tensor:
    return torch.randn(40, channels, size, size, generator=torch.Generator().manual_seed(0))


def dense() -> Network:
    return mlp((20, 16, 12, 3)), images(1, 20)[:, 0, 0]


def flattened() -> Network:
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32, 10), nn.ReLU(), nn.Linear(10, 3)),
    )
    return net, images(1, 10)


def normalised() -> Network:
    net = nn.Sequential(
        *(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )
    return net, images(2, 7)


def layer_normalised() -> Network:
    net = nn.Sequential(nn.Linear(10, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 12), nn.GELU(), nn.Linear(12, 3))
    return net, images(1, 10)[:, 0, 0]


def standardised() -> Network:
    x = images(1, 12)[:, 0, 0]
    return nn.Sequential(Standardize(12).fit(x), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3)), x


def residual() -> Network:
    return Residual(8), images(2, 3)


def words() -> Network:
    tokens = torch.randint(0, 40, (40, 9), generator=torch.Generator().manual_seed(0))
    return lstm_classifier(vocabulary=40, classes=3, width=8, hidden=6), tokens


def attending() -> Network:
    tokens = torch.randint(0, 40, (40, 9), generator=torch.Generator().manual_seed(0))
    return transformer_encoder(vocabulary=40, classes=3, length=9, width=8, heads=2, layers=1), tokens


NETWORKS = [dense, flattened, normalised, layer_normalised, standardised, residual, words, attending]


def variational(net: nn.Module, x: Tensor) -> WeightGuide:
    return VariationalDropout(BayesianNetwork(net), log_sigma2=-8)


def by_column(net: nn.Module, x: Tensor) -> WeightGuide:
    return VariationalDropout(BayesianNetwork(net), log_sigma2=-8, alpha_sharing="column")


def group(net: nn.Module, x: Tensor) -> WeightGuide:
    return GroupVariationalDropout(BayesianNetwork(net, prior=NormalJeffreys))


def group_shared(net: nn.Module, x: Tensor) -> WeightGuide:
    return GroupVariationalDropout(BayesianNetwork(net, prior=NormalJeffreys), example=x[:2])


def log_normal(net: nn.Module, x: Tensor) -> WeightGuide:
    return LogNormalDropout(BayesianNetwork(net))


GUIDES = [variational, by_column, group, group_shared, log_normal]


def half_of(size: int) -> Tensor:
    """Two of four quarters of the units, in both halves, so that groups and the positions of a filter go together."""
    units = torch.arange(size)
    return units[(units * 8 // size) % 4 < 2] if size > 2 else units[:0]


@torch.no_grad()
def deaden(guide: WeightGuide) -> None:
    """Put half of the inputs of every layer beyond the threshold, and of its outputs where weights have their own α."""
    for name in guide.site_names:
        site, axes = guide.site(name), guide.model.weight_axes(name)
        if isinstance(guide, UnitGuide):
            if "z_mu" in site._parameters:
                gone = half_of(len(site.z_mu))
                site.z_mu[gone] = -4.0 if isinstance(guide, LogNormalDropout) else 1e-3
                site.z_log_sigma2[gone] = 4.0 if isinstance(guide, LogNormalDropout) else 0.0
            continue
        for axis in ("in", "out"):
            dim = axes.index(axis)
            gone = half_of(site.theta.shape[dim])
            if "log_sigma2" in site._parameters:
                site.theta.index_fill_(dim, gone, 1e-3)
                site.log_sigma2.index_fill_(dim, gone, 0.0)
            elif axis == "in":
                site.log_alpha.index_fill_(dim, gone, 10.0)
    for name, parameter in guide.model.named_parameters():
        if name.endswith("bias"):
            parameter.copy_(0.5 * torch.randn_like(parameter))


def trained(
    network: Callable[[], Network],
    make: Callable[[nn.Module, Tensor], WeightGuide],
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> tuple[WeightGuide, Tensor, Watch]:
    torch.manual_seed(1)
    net, x = network()
    guide, watch = make(net, x), Watch()
    deaden(guide)
    options = {"epochs": EPOCHS, "lr": 1e-3, "batch_size": 20, "rule": 0.0 if make is log_normal else 3.0, **options}
    fit(guide, (x, LABELS), shrink=True, callbacks=[watch, *callbacks], progress=False, **options)
    return guide, x, watch


def state_of(guide: WeightGuide) -> dict[str, Any]:
    return {name: tensor.tolist() for part in (guide, guide.model) for name, tensor in part.state_dict().items()}
