"""Gaussian and Bernoulli dropout, and variational dropout with a shared α: their noise, their KL, and the models they fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pyro
import pytest
import torch
from shared_networks import NETWORKS
from support import refuses
from torch import Tensor, nn
from torch.distributions import Independent, kl_divergence

from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    VariationalDropoutELBO,
    log_alpha,
    posterior_mean,
    prune,
)
from pyro_vd.distributions import LogUniform, NormalARD, SharedAlphaNormal, UnitDropout
from pyro_vd.distributions.kl import kl_exact
from pyro_vd.guides import BernoulliDropout, GaussianDropout, PointEstimate, WeightGuide
from pyro_vd.inference import LocalReparameterization
from pyro_vd.models import MLP

GUIDES: dict[str, Callable[[BayesianNetwork], WeightGuide]] = {
    "bernoulli": partial(BernoulliDropout, p=0.4),
    "gaussian": partial(GaussianDropout, p=0.4),
    "gaussian unit": partial(GaussianDropout, p=0.4, noise_on="unit"),
}


def draws(model: BayesianNetwork, guide: WeightGuide, x: Tensor) -> Tensor:
    """Return the network's output, each row of ``x`` with its own noise."""
    with torch.no_grad(), LocalReparameterization():
        return model.output(guide(), x)


@pytest.mark.parametrize("guide", GUIDES)
def test_with_a_fixed_rate_the_kl_is_a_constant(guide: str) -> None:
    model = MLP([5, 4, 3], num_data=60)
    family = GUIDES[guide](model)
    elbo = VariationalDropoutELBO()
    loss = elbo(model, family)
    x, y = torch.rand(7, 5), torch.arange(7) % 3
    loss(x, y).backward()
    before, gradients = elbo.kl, {name: p.grad.clone() for name, p in family.named_parameters() if p.grad is not None}
    elbo.kl_weight = 100.0
    pyro.set_rng_seed(0)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.mul_(-3).add_(0.1)
    loss(x, y)
    assert elbo.kl == before
    assert set(gradients) == {name for name, _ in family.named_parameters()}
    # The KL adds nothing to a gradient, whatever its weight.
    family.zero_grad()
    results = []
    for elbo.kl_weight in (0.0, 100.0):
        pyro.set_rng_seed(1)
        family.zero_grad()
        loss(x, y).backward()
        results.append([p.grad.clone() for p in family.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_kl_of_a_shared_alpha_equals_the_kl_of_single_alphas() -> None:
    theta = torch.randn(4, 3, dtype=torch.float64)
    log_alpha = torch.tensor([[-2.0], [0.0], [1.0], [4.0]], dtype=torch.float64, requires_grad=True)
    q = SharedAlphaNormal(theta, log_alpha)
    value = kl_divergence(q, LogUniform((4, 3), kl="exact"))
    torch.testing.assert_close(value, kl_exact(theta, log_alpha + 2 * theta.abs().log()))
    value.sum().backward()
    assert log_alpha.grad is not None
    single = log_alpha.detach().expand(4, 3).clone().requires_grad_()
    kl_divergence(SharedAlphaNormal(theta, single), LogUniform((4, 3), kl="exact")).sum().backward()
    assert single.grad is not None
    torch.testing.assert_close(log_alpha.grad, single.grad.sum(1, keepdim=True))
    ard = kl_divergence(SharedAlphaNormal(theta, log_alpha), NormalARD((4, 3)))
    torch.testing.assert_close(ard, (0.5 * torch.log1p((-log_alpha).exp())).expand(4, 3))


def test_unit_noise_drops_whole_columns_and_differs_between_rows() -> None:
    model = MLP([5, 40, 3])
    guide = BernoulliDropout(model, 0.5)
    weight = guide.posterior("3.weight").rsample()
    ratio = weight / guide.mean("3.weight")
    assert set(ratio.unique().tolist()) == {0.0, 2.0}
    assert ((ratio == 0).all(0) | (ratio == 2).all(0)).all()
    outputs = draws(model, guide, torch.ones(50, 5))
    assert len(outputs[:, 0].unique()) > 40


def test_convolutions_drop_channels() -> None:
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 1, 1, bias=False))
    model = BayesianNetwork(net)
    guide = BernoulliDropout(model, 0.5)
    with torch.no_grad():
        guide.site("2.weight").theta.fill_(1.0)
        hidden = net[:2](torch.rand(64, 1, 5, 5).expand(64, 1, 5, 5))
        x = torch.rand(1, 1, 5, 5).expand(64, 1, 5, 5)
        hidden = net[:2](x)[0]
        outputs = draws(model, guide, x)[:, 0]
    combinations = torch.tensor([[(i >> k) & 1 for k in range(6)] for i in range(64)], dtype=torch.float)
    possible = 2 * torch.einsum("nc,chw->nhw", combinations, hidden)
    distance = (outputs[:, None] - possible[None]).abs().amax((-1, -2)).amin(1)
    assert distance.max() < 1e-5


def test_no_noise_on_the_data_and_none_at_rate_0() -> None:
    model = MLP([5, 4, 3])
    x = torch.rand(6, 5)
    for guide in (BernoulliDropout(model, 0.0), GaussianDropout(model, 0.0), GaussianDropout(model, 0.0, noise_on="unit")):
        torch.testing.assert_close(draws(model, guide, x), posterior_mean(guide)(x), rtol=0, atol=1e-6)
    assert isinstance(BernoulliDropout(model, 0.5).posterior("3.weight"), UnitDropout)
    first = BernoulliDropout(model, 0.5).posterior("1.weight")
    assert torch.equal(first.rsample(), first.rsample())


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, math.nan])
@pytest.mark.parametrize("guide", [BernoulliDropout, GaussianDropout])
def test_rates_outside_their_range_are_quoted(guide: Callable[..., WeightGuide], p: float) -> None:
    with refuses("p", p, "[0, 1)"):
        guide(MLP([5, 4, 3]), p)


def test_guides_that_do_not_fit_a_model() -> None:
    model = MLP([5, 3])
    with refuses("model", model, "1.weight"):
        BernoulliDropout(model, 0.5)
    with refuses("noise_on", "units", "unit"):
        GaussianDropout(MLP([5, 4, 3]), 0.5, noise_on="units")  # type: ignore[arg-type]
    with refuses("alpha_sharing", "unit", "row"):
        VariationalDropout(MLP([5, 4, 3]), alpha_sharing="unit")  # type: ignore[arg-type]


def test_a_shared_alpha_removes_rows_columns_or_a_layer_together() -> None:
    for per, dims in (("row", (1,)), ("column", (0,)), ("layer", (0, 1))):
        model = MLP([5, 4, 3])
        guide = VariationalDropout(model, -4, alpha_sharing=per)  # type: ignore[arg-type]
        with torch.no_grad():
            guide.site("1.weight").log_alpha.view(-1)[0] = 5.0
        values = log_alpha(guide)["1.weight"]
        assert (values.amax(dims) == values.amin(dims)).all()
        weight = prune(guide)[1].weight
        assert ((weight == 0) == (values >= 3)).all()
        assert (weight == 0).any()
        guide.apply_masks({name: v < 3 for name, v in log_alpha(guide).items()})
        torch.testing.assert_close(posterior_mean(guide)[1].weight, weight)
        elbo = VariationalDropoutELBO()
        elbo(model, guide)(torch.rand(3, 5), torch.arange(3))
        assert elbo.kl.isfinite()


def test_point_estimate_has_no_noise_and_no_kl() -> None:
    model = MLP([5, 4, 3])
    guide = PointEstimate(model)
    elbo = VariationalDropoutELBO()
    x, y = torch.rand(7, 5), torch.arange(7) % 3
    loss = elbo(model, guide)
    assert loss(x, y) == loss(x, y)
    assert elbo.kl == 0
    assert isinstance(guide.posterior("1.weight"), Independent | pyro.distributions.Delta)


@pytest.mark.parametrize(
    "layer", [nn.Linear(6, 4), nn.Conv1d(6, 4, 3), nn.ConvTranspose1d(6, 4, 3)], ids=lambda one: type(one).__name__
)
def test_alphas_are_shared_by_units_whatever_the_order_of_the_axes(layer: nn.Module) -> None:
    model = BayesianNetwork(nn.Sequential(layer))
    for sharing, axis, units in (("row", "out", 4), ("column", "in", 6)):
        guide = VariationalDropout(model, alpha_sharing=sharing)
        assert guide.site("0.weight").log_alpha.numel() == units
        assert guide.site("0.weight").log_alpha.shape[model.weight_axes("0.weight").index(axis)] == units


@pytest.mark.parametrize("network", NETWORKS)
def test_units_of_layers_of_every_kind_are_dropped(network: str) -> None:
    torch.manual_seed(0)
    make, inputs = NETWORKS[network]
    model = BayesianNetwork(make())
    noisy = BernoulliDropout(model, 0.2)
    VariationalDropoutELBO()(model, noisy)(inputs(6), torch.arange(6) % 3).backward()
    for name in noisy.site_names:
        q = noisy.posterior(name)
        reads_data = name in ("stem.weight", "tokens.weight")
        assert isinstance(q, UnitDropout) != reads_data
        if isinstance(q, UnitDropout):
            draws = q.rsample((200,))
            assert 0.1 < (draws == 0).float().mean() < 0.3
        assert noisy.site(name).theta.grad.any()
