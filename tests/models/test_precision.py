"""Types of numbers: half precision is refused where variances or scales are learnt, and mixed precision trains them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support import refuses
from torch import nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropout, fit
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import GaussianDropout, LogNormalDropout, PointEstimate, WeightGuide
from pyro_vd.models import Normal

X, Y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
RUN = {"epochs": 1, "progress": False}
COARSE = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
GUIDES: dict[str, Callable[[BayesianNetwork], WeightGuide]] = {
    "weight": VariationalDropout,
    "row": lambda model: VariationalDropout(model, alpha_sharing="row"),
    "layer": lambda model: VariationalDropout(model, alpha_sharing="layer"),
    "group": GroupVariationalDropout,
    "log-normal": LogNormalDropout,
    "gaussian": lambda model: GaussianDropout(model, 0.2),
}


def small(kind: str, likelihood: Normal | None = None) -> BayesianNetwork:
    outputs = 3 if likelihood is None else 1
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, outputs))
    return BayesianNetwork(net, likelihood, **({"prior": NormalJeffreys} if kind == "group" else {}))


@pytest.mark.parametrize("dtype", COARSE)
@pytest.mark.parametrize("kind", GUIDES)
def test_weights_too_coarse_for_variances_are_refused(kind: str, dtype: torch.dtype) -> None:
    model = small(kind)
    model.to(dtype)
    with refuses("0.weight", dtype, "torch.autocast"):
        GUIDES[kind](model)


@pytest.mark.parametrize("dtype", COARSE[:2])
@pytest.mark.parametrize("kind", GUIDES)
def test_weights_that_are_converted_later_are_refused_by_fit(kind: str, dtype: torch.dtype) -> None:
    for converted in (0, 1):
        model = small(kind)
        guide = GUIDES[kind](model)
        (model, guide)[converted].to(dtype)
        before = {name: value.clone() for name, value in guide.state_dict().items()}
        with refuses(("0.weight", "sites.0.weight.theta")[converted], dtype, "torch.autocast"):
            fit(guide, (X, Y), **RUN)
        assert all(torch.equal(before[name], value) for name, value in guide.state_dict().items())


def test_model_and_guide_of_two_types_are_refused() -> None:
    model = small("weight")
    guide = VariationalDropout(model)
    model.double()
    with refuses("sites.0.weight.theta", torch.float32, "float64"):
        fit(guide, (X.double(), Y), **RUN)
    guide.double()
    assert fit(guide, (X.double(), Y), **RUN).skipped == 0


def test_parameters_of_a_likelihood_too_coarse_to_be_learnt_are_refused() -> None:
    with refuses("likelihood.log_scale", torch.bfloat16, "float32", "float64"):
        small("weight", Normal().bfloat16())
    assert PointEstimate(small("weight", Normal(1.0).bfloat16())), "a fixed scale is not learnt"
    model = small("weight", Normal())
    guide = PointEstimate(model)
    model.likelihood.half()
    with refuses("likelihood.log_scale", torch.float16):
        fit(guide, (X, X[:, 0]), **RUN)


@pytest.mark.parametrize("kind", GUIDES)
@pytest.mark.parametrize("likelihood", [None, Normal])
def test_under_autocast_parameters_are_float32_and_each_of_them_moves(kind: str, likelihood: type[Normal] | None) -> None:
    """Adam moves a variance by about the learning rate per step, because the KL always has a gradient: 20 steps of 0.001."""
    model = small(kind, likelihood and likelihood())
    guide = GUIDES[kind](model)
    before = {name: parameter.detach().clone() for name, parameter in guide.named_parameters()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = fit(guide, (X, Y if likelihood is None else X[:, 0]), epochs=10, batch_size=20, progress=False)
    assert result.skipped == 0
    for name, parameter in guide.named_parameters():
        assert parameter.dtype is torch.float32, name
        moved = (parameter - before[name]).abs()
        assert (moved > 0.01).all() if "log_" in name else moved.any(), name
