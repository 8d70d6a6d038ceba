"""All layers that read a unit have the same draw of its factor in a pass, also where parts of the network run again."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pytest
import torch
from shared_networks import KINDS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import LogUniform, NormalJeffreys
from pyro_vd.guides import WeightGuide
from pyro_vd.inference import LocalReparameterization
from pyro_vd.testing import GuideConformance


class TwoReaders(nn.Module):
    """Two layers that read the same units, with the same weights, and return what they read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.left.weight.copy_(torch.eye(4)), self.right.weight.copy_(torch.eye(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return torch.cat([self.left(h), self.right(h)], 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("drawn", [(), ("right.weight",)])
@torch.no_grad()
def test_readers_have_the_same_draw_in_a_pass(kind: str, drawn: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    prior = NormalJeffreys if kind == "group" else LogUniform
    model = BayesianNetwork(TwoReaders(), prior=prior, shared=drawn)
    guide = KINDS[kind](model, -1.0, weight_noise=False, example=torch.randn(2, 3))
    x = torch.randn(1, 3).expand(5, 3)
    factors = []
    for _ in range(2):
        with LocalReparameterization():
            weights = {**guide(), "stem.weight": model.initial_weights["stem.weight"]}
            left, right = model.output(weights, x).chunk(2, 1)
        torch.testing.assert_close(left, right)
        factors.append(left)
    assert ((factors[0] - factors[1]).abs() > 1e-3).any(1).all(), "each pass has a draw of its own"
    differ = ((factors[0][1:] - factors[0][:1]).abs() > 1e-3).any(1)
    assert differ.tolist() == [not drawn] * 4, "each example has a draw of its own, unless a weight is drawn for all"
    drawn_weights = guide()
    assert torch.equal(drawn_weights["left.weight"], drawn_weights["right.weight"])
    assert not torch.equal(drawn_weights["left.weight"], guide()["left.weight"])


class Turned(nn.Module):
    """Two layers read the same units, one of them with examples in another dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return (self.left(h) + self.right(h.transpose(0, 1)).transpose(0, 1)).mean(1)


def test_units_that_cannot_be_drawn_per_example_are_drawn_once() -> None:
    torch.manual_seed(0)
    guide = GroupVariationalDropout(
        BayesianNetwork(Turned(), prior=NormalJeffreys), -2.0, weight_noise=False, example=torch.randn(4, 5, 3)
    )
    VariationalDropoutELBO()(guide.model, guide)(torch.randn(4, 5, 3), torch.arange(4) % 2).backward()
    assert guide.site("left.weight").z_mu.grad.all()
    x, outputs = torch.randn(1, 5, 3).expand(4, 5, 3), []
    for _ in range(2):
        with torch.no_grad(), LocalReparameterization():
            weights = guide()
            known = {name: guide.model.initial_weights[name] for name in ("stem.weight", "right.weight")}
            outputs.append(guide.model.output({**weights, **known}, x))
    for output in outputs:
        torch.testing.assert_close(output, output[:1].expand_as(output))
    assert not torch.allclose(*outputs)


Run = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


class Stream(nn.Module):
    """Two layers add to a stream and a third reads it; parts of them may be run again."""

    def __init__(self, run: Run = lambda f, x: f(x)) -> None:
        super().__init__()
        self.run, self.stem, self.head = run, nn.Linear(6, 5), nn.Linear(5, 3)
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        h = h + self.run(lambda z: self.first(z.tanh()), h)
        h = h + self.run(lambda z: self.second(z.tanh()), h)
        return self.run(self.head, h)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_are_those_without_checkpointing(reentrant: bool) -> None:
    x, y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    found: list[dict[str, Tensor]] = []
    for run in (lambda f, z: f(z), lambda f, z: checkpoint(f, z, use_reentrant=reentrant)):
        torch.manual_seed(0)
        net = Stream(run)
        like = GroupVariationalDropout(BayesianNetwork(Stream(), prior=NormalJeffreys), -2.0, example=x[:2])
        guide = GroupVariationalDropout(BayesianNetwork(net, prior=NormalJeffreys), -2.0)
        guide.load_state_dict(like.state_dict() | {n: p for n, p in guide.state_dict().items() if n.endswith("theta")})
        loss_of = VariationalDropoutELBO(0.1)(guide.model, guide)
        pyro.set_rng_seed(3)
        loss = loss_of(x, y)
        loss.backward()
        assert set(guide.sites_with_units_of("head.weight")) == {"first.weight", "second.weight", "head.weight"}
        gradients = {name: p.grad for name, p in loss_of.named_parameters() if p.grad is not None}
        found.append({"loss": loss.detach(), "next": torch.rand(()), **gradients})
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


class TestSharedUnits(GuideConformance):
    prior = NormalJeffreys

    def make(self, model: BayesianNetwork) -> WeightGuide:
        return GroupVariationalDropout(model, log_sigma2=-3, example=torch.rand(2, 6))

    def network(self) -> nn.Module:
        return Stream()

    def outputs(self, guide: WeightGuide, x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([guide.model.output(guide(), x) for _ in range(2000)])


class TestSharedUnitsLogNormal(TestSharedUnits):
    prior = LogUniform

    def make(self, model: BayesianNetwork) -> WeightGuide:
        return KINDS["log-normal"](model, log_sigma2=-3, weight_noise=True, example=torch.rand(2, 6))
