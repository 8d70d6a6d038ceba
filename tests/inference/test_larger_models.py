"""A network as one part of a larger model: with an autoguide appended to its guide, inside a module or a function."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.contrib.autoname import scope
from pyro.infer import SVI, Predictive
from pyro.infer.autoguide import AutoGuideList, AutoNormal
from pyro.nn import PyroModule
from pyro.optim import Adam
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    VariationalDropoutELBO,
    evaluate,
    fit,
    log_alpha,
    prune,
    to_inference_data,
)
from pyro_vd.models import MLP, Normal
from pyro_vd.posterior.arviz_files import to_tree
from pyro_vd.testing.interrupting import Interrupt

X = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
Y = X[:, :3].argmax(1)


def network() -> BayesianNetwork:
    torch.manual_seed(0)
    return BayesianNetwork(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))


class Seasons(BayesianNetwork):
    """Numbers with a random effect of four seasons, and the noise unknown."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), likelihood=Normal(0.5))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        spread = pyro.sample("spread", dist.HalfNormal(2.0))
        with pyro.plate("seasons", 4):
            effect = pyro.sample("effect", dist.Normal(0.0, spread))
        mean = self.sample_output(x)[:, 0] + effect[(x[:, 3] > 0).long()]
        with pyro.plate("data", len(x)), poutine.scale(scale=(self.num_data or len(x)) / len(x)):
            pyro.sample("y", dist.Normal(mean, 0.5), obs=y)
        return mean


def seasons() -> tuple[Seasons, VariationalDropout, Tensor]:
    model = Seasons()
    guide = VariationalDropout(model, log_sigma2=-6.0)
    guide.append(AutoNormal(poutine.block(model, hide=guide.site_names)))
    return model, guide, X[:, 0] + torch.where(X[:, 3] > 0, 2.0, -2.0)


def test_every_function_takes_a_weight_guide_with_an_autoguide_appended() -> None:
    _model, guide, y = seasons()
    fit(guide, (X, y), epochs=60, batch_size=10, lr=0.05, progress=False)
    rest: Any = guide.others[0]
    effect = rest.median()["effect"]
    assert effect[1] - effect[0] > 1, "learnt, with the parameters that are made at the first run"
    assert rest.scales.effect[2] > 2 * rest.scales.effect[1], "nothing is known of seasons that are not in the data"
    data = to_inference_data(guide, (X, y), num_samples=100, weights=2)
    posterior = to_tree(data)["posterior"]
    assert posterior["effect"].shape == (1, 100, 4)
    np.testing.assert_allclose(posterior["effect"].mean(("chain", "draw"))[:2], effect[:2].detach(), atol=0.3)
    assert set(log_alpha(guide)) == {"0.weight", "2.weight"}
    prune(guide)
    assert evaluate(guide, (X, y), num_samples=50).rmse < 1.0
    again_model, again, _ = seasons()
    VariationalDropoutELBO().try_out(again_model, again, X, y)  # makes what there is to load
    again.load_state_dict(guide.state_dict())
    assert torch.equal(again.others[0].median()["effect"], effect)


class Larger(PyroModule):
    """A user's model with a network in it, and an intercept of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()
        self.intercept = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        logits = self.network.sample_output(x) + self.intercept
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=logits), obs=y)
        return logits


@pytest.mark.parametrize("way", ["module", "function"])
def test_a_network_is_part_of_a_users_model(way: str) -> None:
    model = Larger()
    guide = VariationalDropout(model.network, log_sigma2=-6.0)
    pair: Any = (model, guide) if way == "module" else (lambda x, y=None: model(x, y), lambda x, y=None: guide(x, y))
    before = {name: value.detach().clone() for name, value in (*model.named_parameters(), *guide.named_parameters())}
    svi = SVI(*pair, Adam({"lr": 0.02}), loss=VariationalDropoutELBO(0.1))
    losses = [svi.step(X, Y) for _ in range(100)]
    assert losses[-1] < losses[0] / 2
    after = dict((*model.named_parameters(), *guide.named_parameters()))
    assert {name for name, value in before.items() if torch.equal(value, after[name])} == set()
    assert Predictive(pair[0], guide=pair[1], num_samples=7)(X)["y"].shape == (7, 30)
    pruned = prune(guide)
    assert (pruned(X) + model.intercept).argmax(1).eq(Y).double().mean() > 0.8


def test_two_networks_in_one_model_have_scopes() -> None:
    first, second = network(), network()
    guides = VariationalDropout(first), VariationalDropout(second)

    def model(x: Tensor, y: Tensor) -> None:
        with scope(prefix="a"):
            mean = first.sample_output(x)
        with scope(prefix="b"):
            mean = mean * second.sample_output(x)
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=mean), obs=y)

    def guide(x: Tensor, y: Tensor) -> None:
        for prefix, part in zip("ab", guides, strict=True):
            with scope(prefix=prefix):
                part(x, y)

    elbo = VariationalDropoutELBO()
    elbo(model, guide)(X, Y).backward()
    assert set(elbo.site_kl) == {"a/0.weight", "a/2.weight", "b/0.weight", "b/2.weight"}
    assert all(parameter.grad is not None for part in (*guides, first, second) for parameter in part.parameters())


def test_a_training_with_an_autoguide_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    def state(epochs: tuple[int, ...], resume: bool) -> dict[str, Tensor]:
        for stop in epochs:
            _model, guide, y = seasons()
            pyro.set_rng_seed(5)

            with contextlib.suppress(KeyboardInterrupt):
                options: Any = {"checkpoint": tmp_path / "c.pt", "resume": resume, "callbacks": [Interrupt(stop)]}
                fit(guide, (X, y), epochs=4, batch_size=10, progress=False, **options)
        return guide.state_dict()

    whole = state((99,), resume=False)
    (tmp_path / "c.pt").unlink()
    for name, value in state((2, 99), resume=True).items():
        assert torch.equal(value, whole[name]), name


def test_what_fit_does_not_train_is_refused() -> None:
    class Offset(MLP):
        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            pyro.param("offset", torch.zeros(3))
            return super().forward(x, y)

    model, guide = Offset((4, 6, 3)), AutoGuideList(network())
    for refused_guide, name in ((VariationalDropout(model), "offset"), (guide, "AutoGuideList")):
        with refuses(ANYTHING, ANYTHING, name):
            fit(refused_guide, (X, Y), epochs=1, progress=False)  # type: ignore[arg-type]
