"""A forward pass of which parts are run again during the backward pass gives the gradients of one that is run once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import BernoulliDropout, GaussianDropout, LogNormalDropout, PointEstimate

GUIDES: dict[str, Callable[[BayesianNetwork], Any]] = {
    "variational": partial(VariationalDropout, log_sigma2=-3.0),
    "row": partial(VariationalDropout, log_sigma2=-3.0, alpha_sharing="row"),
    "group": partial(GroupVariationalDropout, log_sigma2=-3.0),
    "log-normal": partial(LogNormalDropout, log_sigma2=-3.0, weight_noise=True),
    "bernoulli": partial(BernoulliDropout, p=0.4),
    "gaussian": partial(GaussianDropout, p=0.4),
    "gaussian-unit": partial(GaussianDropout, p=0.4, noise_on="unit"),
    "point": PointEstimate,
}
Run = Callable[[Callable[..., Tensor], Tensor], Tensor]
HOW: dict[str, Run] = {
    "non-reentrant": lambda f, x: checkpoint(f, x, use_reentrant=False),
    "non-reentrant, random state not kept": lambda f, x: checkpoint(f, x, use_reentrant=False, preserve_rng_state=False),
    "reentrant": lambda f, x: checkpoint(f, x, use_reentrant=True),
    "reentrant, random state not kept": lambda f, x: checkpoint(f, x, use_reentrant=True, preserve_rng_state=False),
    "nested": lambda f, x: checkpoint(lambda z: checkpoint(f, z, use_reentrant=False), x, use_reentrant=False),
}


class Blocks(nn.Module):
    """Layers of several kinds: two blocks between a stem and a head that may be run again."""

    def __init__(self, run: Run | None) -> None:
        super().__init__()
        self.run = run or (lambda f, x: f(x))
        self.stem = nn.Conv1d(1, 4, 3, padding=1)
        self.first = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), nn.Tanh(), nn.Conv1d(4, 4, 1))
        self.again = nn.Linear(8, 8)
        self.second = nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.Tanh())
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.run(self.first, self.stem(x[:, None]).tanh())
        h = self.run(lambda z: self.again(self.again(z).tanh()), h)  # a weight that is used twice
        return self.head(self.run(self.second, self.run(lambda z: F.linear(z, self.again.weight.t()), h)))


X, Y = torch.randn(12, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


def gradients(
    net: nn.Module, make: Callable[[BayesianNetwork], Any], masked: bool = False, threshold: float | None = None, **options: Any
) -> dict[str, Tensor]:
    prior = {"prior": NormalJeffreys} if "Group" in repr(make) else {}
    model = BayesianNetwork(net, num_data=100, **prior)
    guide = make(model)
    guide.train_threshold = threshold if guide.learns_alpha else None
    if masked:
        generator = torch.Generator().manual_seed(1)
        weights = model.initial_weights
        guide.apply_masks({name: torch.rand(weight.shape, generator=generator) < 0.8 for name, weight in weights.items()})
    loss_of = VariationalDropoutELBO(0.1, **options)(model, guide)
    pyro.set_rng_seed(3)
    loss = loss_of(X, Y)
    loss.backward()
    found = {name: p.grad.clone() for name, p in loss_of.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "next": torch.rand(()), **found}


def blocks(run: Run | None) -> nn.Module:
    torch.manual_seed(0)
    return Blocks(run)


def check_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("guide", GUIDES)
def test_gradients_are_those_without_checkpointing(guide: str, how: str) -> None:
    make = GUIDES[guide]
    check_same(gradients(blocks(HOW[how]), make), gradients(blocks(None), make))


@pytest.mark.parametrize("how", ["non-reentrant", "reentrant"])
@pytest.mark.parametrize("guide", GUIDES)
def test_with_removed_weights_held_means_and_several_particles(guide: str, how: str) -> None:
    make, options = GUIDES[guide], {"num_particles": 2, "threshold": 2.0}
    check_same(gradients(blocks(HOW[how]), make, True, **options), gradients(blocks(None), make, True, **options))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_sequential_and_dropout(reentrant: bool) -> None:
    class Net(nn.Module):
        def __init__(self, again: bool) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
            self.again = again

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone().requires_grad_()  # what reentrant checkpointing asks for
            return checkpoint_sequential(self.layers, 3, x, use_reentrant=reentrant) if self.again else self.layers(x)

    def net(again: bool) -> nn.Module:
        torch.manual_seed(0)
        return Net(again)

    check_same(gradients(net(True), GUIDES["variational"]), gradients(net(False), GUIDES["variational"]))


@pytest.mark.parametrize("reentrant", [False, True])
def test_attention_in_a_checkpoint(reentrant: bool) -> None:
    class Net(nn.Module):
        def __init__(self, again: bool) -> None:
            super().__init__()
            self.embed = nn.Linear(1, 8)
            self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
            self.head, self.again = nn.Linear(8, 3), again

        def forward(self, x: Tensor) -> Tensor:
            h = self.embed(x[..., None])
            h = checkpoint(self.block, h, use_reentrant=reentrant) if self.again else self.block(h)
            return self.head(h.mean(1))

    def net(again: bool) -> nn.Module:
        torch.manual_seed(0)
        return Net(again)

    check_same(gradients(net(True), GUIDES["variational"]), gradients(net(False), GUIDES["variational"]))


def test_a_backward_pass_after_another_forward_pass() -> None:
    """Each loss has the gradients of its own draws, in whatever order the backward passes come."""
    model = BayesianNetwork(blocks(HOW["non-reentrant"]))
    loss_of = VariationalDropoutELBO()(model, guide := VariationalDropout(model, log_sigma2=-1.0))
    pyro.set_rng_seed(5)
    one, two = loss_of(X, Y), loss_of(X, Y)
    parameters = list(guide.parameters())
    late = torch.autograd.grad(one, parameters), torch.autograd.grad(two, parameters)
    pyro.set_rng_seed(5)
    at_once = torch.autograd.grad(loss_of(X, Y), parameters), torch.autograd.grad(loss_of(X, Y), parameters)
    for found, wanted in zip(late[0] + late[1], at_once[0] + at_once[1], strict=True):
        torch.testing.assert_close(found, wanted)
