"""Group variational dropout: the normal–Jeffreys prior, its KL, and the numbers at their extremes."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from support import refuses
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from pyro_vd import GroupVariationalDropout, VariationalDropoutELBO, log_alpha, posterior_mean
from pyro_vd.distributions import GroupNormal, LogUniform, MultiplicativeNormal, NormalJeffreys
from pyro_vd.inference import LocalReparameterization
from pyro_vd.inference.unit_noise import UnitNoiseWeight
from pyro_vd.models import MLP
from pyro_vd.pruning import threshold_masks

AT_INFINITE_ALPHA = 0.5 * math.log(2 * math.pi * math.e) + 0.5 * (np.euler_gamma + math.log(2))
"""−E log q(z) − E log|z| of a Gaussian q around 0: what makes the KL of z vanish there, as the library's does."""


def posterior(*shape: int, weight_noise: bool = True, **options: Tensor) -> GroupNormal:
    """Random parameters in float64, α from small to large."""
    z_mu, z_log_sigma2 = torch.randn(shape[1]).double(), torch.linspace(-6, 3, shape[1]).double()
    log_sigma2 = torch.randn(shape).double() - 1 if weight_noise else None
    return GroupNormal(torch.randn(shape).double(), z_mu, z_log_sigma2, log_sigma2, **options)


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2, 2)])
@pytest.mark.parametrize("weight_noise", [True, False])
def test_kl_is_that_of_the_model_by_monte_carlo(shape: tuple[int, ...], weight_noise: bool) -> None:
    """log q(z) q(w|z) − log p(z) p(w|z) at draws of z and w, in the paper's own, centred form."""
    q = posterior(*shape, weight_noise=weight_noise)
    n = 40_000 if weight_noise else 400_000
    z = q.units((n,))
    sigma_z = (0.5 * q.z_log_sigma2).exp()
    difference = Normal(q.z_mu, sigma_z).log_prob(z) + z.abs().log() + AT_INFINITE_ALPHA
    difference = difference.flatten(1).sum(1)
    if q.log_sigma2 is not None:
        z = q.over_weight(z)
        mean, std = z * q.theta, z.abs() * (0.5 * q.log_sigma2).exp()
        w = mean + std * torch.randn_like(mean)
        difference += (Normal(mean, std).log_prob(w) - Normal(0, z.abs()).log_prob(w)).flatten(1).sum(1)
    kl = kl_divergence(q, NormalJeffreys(shape, kl="exact"))
    assert kl.shape == ()
    assert (kl - difference.mean()).abs() < 4.5 * difference.std() / math.sqrt(n)
    approximate = kl_divergence(q, NormalJeffreys(shape))
    assert 0 < (kl - approximate).abs() < 0.0094 * shape[1], "each group counts once"


@pytest.mark.parametrize(("mu", "log_sigma2"), [(1.0, -4.0), (0.3, 0.0), (-2.0, 1.0), (0.0, 2.0)])
def test_kl_of_z_by_numerical_integration(mu: float, log_sigma2: float) -> None:
    sigma = math.exp(0.5 * log_sigma2)

    def integrand(z: float) -> float:
        log_q = -0.5 * ((z - mu) / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)
        return math.exp(log_q) * (log_q + math.log(abs(z)))

    far = abs(mu) + 12 * sigma
    integral = sum(quad(integrand, *ends, limit=500)[0] for ends in pairwise(sorted({-far, 0, abs(mu), far})))
    q = GroupNormal(torch.zeros(7, 1).double(), torch.tensor([mu]).double(), torch.tensor([log_sigma2]).double())
    assert kl_divergence(q, NormalJeffreys((7, 1), kl="exact")).item() == pytest.approx(integral + AT_INFINITE_ALPHA, abs=1e-6)


def test_removed_weights_cost_nothing_and_are_zero() -> None:
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[:, 1] = False
    mask[2, 3] = False
    whole = posterior(5, 4)
    q = GroupNormal(whole.theta, whole.z_mu, whole.z_log_sigma2, whole.log_sigma2, mask)
    assert torch.equal(q.rsample((50,)) != 0, mask.expand(50, 5, 4))
    assert torch.equal(q.mean != 0, mask)
    assert torch.equal(q.log_alpha == torch.inf, ~mask)
    assert torch.equal(q.weight_log_alpha == torch.inf, ~mask)
    assert q.left is not None
    assert q.left.tolist() == [True, False, True, True]
    kept = [0, 2, 3]
    assert whole.log_sigma2 is not None
    parts = [GroupNormal(whole.theta[:, kept], whole.z_mu[kept], whole.z_log_sigma2[kept], whole.log_sigma2[:, kept])]
    single = 0.5 * (whole.log_sigma2[2, 3].exp() + whole.theta[2, 3] ** 2 - 1 - whole.log_sigma2[2, 3])
    wanted = sum(kl_divergence(part, NormalJeffreys((5, 3))) for part in parts) - single
    torch.testing.assert_close(kl_divergence(q, NormalJeffreys((5, 4))), wanted)


@pytest.mark.parametrize("kl", ["approximate", "exact"])
@pytest.mark.parametrize("z_log_sigma2", [-60.0, 0.0, 60.0])
@pytest.mark.parametrize("log_sigma2", [-60.0, 0.0, 60.0])
@pytest.mark.parametrize("z_mu", [0.0, 1e-30, 1.0, 1e4])
def test_kl_and_its_gradients_are_finite_at_the_extremes(kl: str, z_log_sigma2: float, log_sigma2: float, z_mu: float) -> None:
    parameters = [torch.zeros(3, 2), torch.full((2,), z_mu), torch.full((2,), z_log_sigma2), torch.full((3, 2), log_sigma2)]
    for parameter in parameters:
        parameter.requires_grad_()
    value = kl_divergence(GroupNormal(*parameters), NormalJeffreys((3, 2), kl=kl))  # type: ignore[arg-type]
    value.backward()
    assert value.isfinite()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in parameters)


@pytest.mark.parametrize("z_mu", [0.0, 1e-30, 1.0])
@pytest.mark.parametrize("log_sigma2", [-60.0, -8.0, 20.0])
@pytest.mark.parametrize("hold", [None, 1.0])
def test_outputs_and_gradients_are_finite_at_the_extremes(z_mu: float, log_sigma2: float, hold: float | None) -> None:
    parameters = [torch.randn(3, 2), torch.full((2,), z_mu), torch.full((2,), log_sigma2), torch.full((3, 2), log_sigma2)]
    for parameter in parameters:
        parameter.requires_grad_()
    q = GroupNormal(*parameters)
    for x in (torch.zeros(4, 2), torch.randn(4, 2)):
        output = F.linear(x, UnitNoiseWeight(q, hold))
        output.square().sum().backward()
        assert output.isfinite().all()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in parameters)


def test_z_is_drawn_for_each_example_and_channel() -> None:
    theta = torch.ones(1, 2, 1, 1)
    q = GroupNormal(theta, torch.tensor([1.0, 0.0]), torch.tensor([0.0, -80.0]))
    x = torch.rand(50, 2, 3, 3) + 0.5
    with LocalReparameterization():
        ratio = F.conv2d(x, UnitNoiseWeight(q)) / x[:, :1]
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    assert len(ratio[:, 0, 0, 0].unique()) == 50


def test_single_weights_go_inside_the_units_that_are_left() -> None:
    model = MLP([5, 4, 3], prior=NormalJeffreys)
    guide = GroupVariationalDropout(model, log_sigma2=-4)
    with torch.no_grad():
        guide.site("1.weight").z_log_sigma2[0] = 3.0
        guide.site("1.weight").theta[2, 3] = 1e-3
    units = threshold_masks(log_alpha(guide), 0.0)
    weights = threshold_masks({name: guide.posterior(name).weight_log_alpha for name in guide.site_names}, 3.0)
    guide.apply_masks({name: units[name] & weights[name] for name in units})
    gone = posterior_mean(guide)[1].weight == 0
    assert gone[:, 0].all()
    assert gone[2, 3]
    assert torch.equal(gone, ~(units["1.weight"] & weights["1.weight"]))
    assert 0 < int(gone[:, 1:].sum()) < 16
    elbo = VariationalDropoutELBO()
    elbo(model, guide)(torch.rand(4, 5), torch.arange(4) % 3).backward()
    assert elbo.kl.isfinite()


def test_prior_density_and_refusals() -> None:
    w = torch.randn(6, 5, 4, 2, 2)
    by_group = -20 * w.movedim(2, 1).flatten(2).norm(dim=-1).log()
    prior = NormalJeffreys((5, 4, 2, 2))
    assert (prior.batch_shape, prior.event_shape) == ((), (5, 4, 2, 2))
    torch.testing.assert_close(prior.log_prob(w), by_group.sum(1))
    w[0, :, 3] = 0
    assert prior.log_prob(w)[0] == torch.inf
    # The density is the integral over z, up to a constant: that of two weights of a group falls with the square.
    integrals = [quad(lambda z, r=r: math.exp(-(r**2) / (2 * z**2)) / z**3, 0, np.inf)[0] for r in (0.7, 2.1)]
    density = [NormalJeffreys((2, 1)).log_prob(torch.tensor([[r], [0.0]])).exp().item() for r in (0.7, 2.1)]
    assert density[0] / density[1] == pytest.approx(integrals[0] / integrals[1], rel=1e-4)
    with refuses("NormalJeffreys"):
        prior.sample()
    with refuses("kl", "other"):
        NormalJeffreys((2, 2), kl="other")  # type: ignore[arg-type]
    with refuses("shape", (3,)):
        NormalJeffreys((3,))
    with refuses("GroupNormal"):
        posterior(3, 2).log_prob(torch.zeros(3, 2))
    with pytest.raises(NotImplementedError):
        kl_divergence(posterior(3, 2), LogUniform((3, 2)).to_event(2))
    with pytest.raises(NotImplementedError):
        kl_divergence(MultiplicativeNormal(torch.ones(3, 2), torch.ones(3, 2)).to_event(2), prior)
    assert isinstance(LogUniform((3, 2)).to_event(2), dist.Independent)
