"""Guides of further latent sites that have no right answer are refused, and it is said why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from autoguide_support import SD, X, Y, shift_model
from pyro.infer import SVI
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.optim import Adam
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Normal


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal])
def test_an_autoguide_of_the_weights_is_refused(kind: Any) -> None:
    _, model = shift_model()
    with refuses("0.weight", ANYTHING, "Delta", "poutine.block(model, hide="):
        VariationalDropoutELBO().loss(model, kind(model), X, Y)


NORMAL = dist.Normal(0.0, 1.0)
GUIDES: dict[str, tuple[Any, Callable, str, object]] = {
    "discrete": (dist.Bernoulli(0.5), lambda: pyro.sample("z", dist.Bernoulli(0.3)), "z", "Bernoulli"),
    "observed": (NORMAL, lambda: pyro.sample("z", NORMAL, obs=torch.tensor(0.3)), "z", torch.tensor(0.3)),
    "observed-too": (
        NORMAL,
        lambda: (pyro.sample("z", NORMAL), pyro.sample("w", NORMAL, obs=torch.tensor(0.3))),
        "w",
        torch.tensor(0.3),
    ),
    "factor": (
        NORMAL,
        lambda: (pyro.sample("z", NORMAL), pyro.factor("f", torch.tensor(0.3), has_rsample=False)),
        "f",
        "Unit",
    ),
}


@pytest.mark.parametrize(("prior", "guide", "name", "value"), GUIDES.values(), ids=GUIDES)
def test_sites_of_the_guide_without_a_right_answer_are_refused(prior: Any, guide: Callable, name: str, value: object) -> None:
    with refuses(name, value, name):
        VariationalDropoutELBO().loss(lambda: pyro.sample("z", prior), guide)


def test_a_scale_round_the_model_alone_does_not_fit_an_autoguide() -> None:
    network, model = shift_model()
    guide = PointEstimate(network)
    guide.append(AutoNormal(poutine.block(model, hide=network.weight_names)))
    with refuses("a", 1.0, "scale", "1.0", "0.5"):
        VariationalDropoutELBO().loss(poutine.scale(model, scale=0.5), guide, X, Y)
    scaled = VariationalDropoutELBO()
    pyro.set_rng_seed(1)
    whole = scaled.loss(model, guide, X, Y)
    pyro.set_rng_seed(1)
    assert scaled.loss(poutine.scale(model, scale=0.5), poutine.scale(guide, scale=0.5), X, Y) == pytest.approx(whole / 2)


def biased_pair() -> tuple[Callable, Callable]:
    """A model and a guide that are functions, and hold modules that Pyro gives the same names each time."""
    network = BayesianNetwork(nn.Sequential(nn.Linear(3, 1)), likelihood=Normal(SD))
    weights = VariationalDropout(network)

    def model(x: Tensor, y: Tensor | None = None) -> None:
        mean = network.sample_output(x)[:, 0]
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(mean, SD), obs=y)

    return model, lambda x, y=None: weights(x, y)


def test_functions_of_other_modules_with_the_names_in_the_parameter_store_are_refused() -> None:
    first, second = biased_pair(), biased_pair()
    SVI(*first, Adam({}), loss=VariationalDropoutELBO()).step(X, Y)
    for pair in ((second[0], first[1]), (first[0], second[1]), second):
        with refuses(ANYTHING, ANYTHING, "pyro.clear_param_store()"):
            SVI(*pair, Adam({}), loss=VariationalDropoutELBO()).step(X, Y)
    SVI(*first, Adam({}), loss=VariationalDropoutELBO()).step(X, Y)
    pyro.clear_param_store()
    SVI(*second, Adam({}), loss=VariationalDropoutELBO()).step(X, Y)


def test_only_a_module_is_appended() -> None:
    network, _ = shift_model()
    with refuses(ANYTHING, ANYTHING, "guide", "function", "nn.Module"):
        PointEstimate(network).append(lambda x, y: None)
