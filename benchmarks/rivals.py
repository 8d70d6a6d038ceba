"""Ways to make a trained network smaller, ours and those of others, each from the same network in the same number of epochs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    KLWeight,
    VariationalDropout,
    compact,
    fine_tune,
    fit,
    prune,
)
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import WeightGuide
from pyro_vd.training import LRSchedule

GROWING = 0.6
"""Share of the epochs in which the network gets smaller; in the others it recovers."""
BATCH = 100


@dataclass(frozen=True)
class Task:
    """What every method is given."""

    net: nn.Module
    train: tuple[Tensor, Tensor]
    target: float
    epochs: int
    lr: float

    @property
    def shrinking(self) -> int:
        """Epochs in which the network gets smaller."""
        return max(1, round(GROWING * self.epochs))

    @property
    def recovery(self) -> int:
        """Epochs in which what is left recovers."""
        return max(1, self.epochs - self.shrinking)

    @property
    def example(self) -> Tensor:
        """A few inputs."""
        return self.train[0][:2]


def batches(data: tuple[Tensor, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch, shuffled."""
    x, y = data
    for chosen in torch.randperm(len(x)).split(BATCH):
        yield x[chosen], y[chosen]


def learn(
    net: nn.Module,
    task: Task,
    epochs: int,
    after_epoch: Callable[[int], object] = lambda _: None,
    start: int = 0,
    length: int | None = None,
    penalty: Callable[[], Tensor | float] = lambda: 0.0,
) -> None:
    """Train with Adam, at a rate that falls to 0 in ``length`` epochs, of which ``start`` are over; by default in all.

    Args:
        net: trained in place.
        task: the data and the learning rate.
        epochs: of this training.
        after_epoch: called with the number of the epoch.
        start, length: see above.
        penalty: what is added to the mean loss of each batch.
    """
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=task.lr, fused=True)
    per_epoch = math.ceil(len(task.train[0]) / BATCH)
    before, steps = start * per_epoch, (length or epochs) * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - (before + step) / steps))
    for epoch in range(epochs):
        for x, y in batches(task.train):
            optimizer.zero_grad()
            (nn.functional.cross_entropy(net(x), y) + penalty()).backward()
            optimizer.step()
            schedule.step()
        after_epoch(epoch)
    net.eval()


def magnitude(task: Task) -> nn.Module:
    """Gradual magnitude pruning of single weights with torch.nn.utils.prune, on the cubic schedule (Zhu and Gupta 2017)."""
    net = copy.deepcopy(task.net)
    weights = [(module, "weight") for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]

    def remove(epoch: int) -> None:
        if epoch < task.shrinking:
            share = (1 - 1 / task.target) * (1 - (1 - (epoch + 1) / task.shrinking) ** 3)
            total = sum(module.weight.numel() for module, _ in weights)
            gone = sum(int((module.weight == 0).sum()) for module, _ in weights)
            amount = max(0, round(share * total) - gone)
            torch_prune.global_unstructured(weights, torch_prune.L1Unstructured, amount=amount)

    learn(net, task, task.epochs, remove)
    for module, name in weights:
        if torch_prune.is_pruned(module):
            torch_prune.remove(module, name)
    return compact(net, task.example)


def _torch_pruning(task: Task, importance: torch_pruning.importance.Importance) -> nn.Module:
    net = copy.deepcopy(task.net)
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    start = sum(parameter.numel() for parameter in net.parameters())

    def remove(epoch: int) -> None:
        if epoch >= task.shrinking:
            return
        wanted = start / task.target ** ((epoch + 1) / task.shrinking)
        x, y = next(batches(task.train))
        for _ in range(200):
            if sum(parameter.numel() for parameter in net.parameters()) <= wanted:
                break
            options = {"importance": importance, "global_pruning": True, "pruning_ratio": 0.05, "ignored_layers": [last]}
            pruner = torch_pruning.pruner.BasePruner(net, task.example, **options)
            if isinstance(importance, torch_pruning.importance.TaylorImportance):
                net.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
            pruner.step()

    for epoch in range(task.epochs):  # the pruner replaces parameters, so that each epoch has an optimizer of its own
        learn(net, task, 1, start=epoch, length=task.epochs)
        remove(epoch)
    return net


def torch_pruning_magnitude(task: Task) -> nn.Module:
    """Torch-Pruning: whole units, by the size of their weights."""
    return _torch_pruning(task, torch_pruning.importance.MagnitudeImportance(p=2))


def torch_pruning_taylor(task: Task) -> nn.Module:
    """Torch-Pruning: whole units, by the change of the loss that a Taylor series gives."""
    return _torch_pruning(task, torch_pruning.importance.TaylorImportance())


def _variational(task: Task, guide: WeightGuide, rule: float) -> nn.Module:
    weight = KLWeight(target=task.target, end=0.8 * task.shrinking)
    options: dict[str, Any] = {"lr": task.lr, "batch_size": BATCH, "progress": False}
    fit(guide, task.train, epochs=task.shrinking, kl_weight=weight, rule=rule, **options)
    small = prune(guide, rule)
    fine_tune(small, task.train, epochs=task.recovery, lr_schedule=LRSchedule("linear"), **options)
    return compact(small, task.example)


def pyro_vd_weights(task: Task) -> nn.Module:
    """Sparse variational dropout, one α per weight, β found for the target."""
    return _variational(task, VariationalDropout(BayesianNetwork(task.net), log_sigma2=-8.0), 3.0)


def pyro_vd_units(task: Task) -> nn.Module:
    """Group variational dropout: whole units, β found for the target."""
    model = BayesianNetwork(task.net, prior=NormalJeffreys)
    return _variational(task, GroupVariationalDropout(model), 3.0)


METHODS: dict[str, Callable[[Task], nn.Module]] = {
    "pyro_vd, weights": pyro_vd_weights,
    "magnitude, weights": magnitude,
    "pyro_vd, units": pyro_vd_units,
    "Torch-Pruning, magnitude, units": torch_pruning_magnitude,
    "Torch-Pruning, Taylor, units": torch_pruning_taylor,
}
